//! Reading ahead on a thread of its own, so that expanding and using go on at the same time.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// Bytes of a block: few enough to be in the processor's cache still when they are taken.
const BLOCK: usize = 256 << 10;

/// Blocks that wait to be taken; another two are in work.
const WAITING: usize = 4;

/// What the thread has to tell.
enum Message {
    Block(Vec<u8>, usize),
    End,
    Failed(io::Error),
}

/// A reader that is read on a thread of its own, up to 1.5 MiB ahead. It is read to its end even if nobody takes all of
/// what it gives, but for a reader that was dropped: then the thread ends after the read under way.
pub struct ReadAhead {
    messages: Receiver<Message>,
    /// Where blocks go to be filled again: fresh ones cost a page fault every 4 KiB.
    spent: Sender<Vec<u8>>,
    block: Vec<u8>,
    /// What of the block has not been taken lies from here...
    start: usize,
    /// ...to here.
    end: usize,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Open,
    Ended,
    Failed,
}

impl ReadAhead {
    /// Starts to read `input`.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn new(input: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, messages) = sync_channel(WAITING);
        let (spent, blocks) = channel();
        thread::Builder::new()
            .name("read ahead".to_owned())
            .spawn(move || run(input, &sender, &blocks))?;
        Ok(Self {
            messages,
            spent,
            block: Vec::new(),
            start: 0,
            end: 0,
            state: State::Open,
        })
    }

    /// Waits for the next block; `false` at the end.
    fn next(&mut self) -> io::Result<bool> {
        match self.state {
            State::Open => {}
            State::Ended => return Ok(false),
            State::Failed => return Err(io::Error::other("reading failed before")),
        }
        match self.messages.recv() {
            Ok(Message::Block(block, length)) => {
                let spent = std::mem::replace(&mut self.block, block);
                if !spent.is_empty() {
                    // The thread may have ended: then there is nothing more to fill.
                    drop(self.spent.send(spent));
                }
                (self.start, self.end) = (0, length);
                Ok(true)
            }
            Ok(Message::End) => {
                self.state = State::Ended;
                Ok(false)
            }
            Ok(Message::Failed(error)) => {
                self.state = State::Failed;
                Err(error)
            }
            Err(_) => {
                self.state = State::Failed;
                Err(io::Error::other("the reading thread failed"))
            }
        }
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.start == self.end {
            if !self.next()? {
                return Ok(0);
            }
        }
        let left = self.block.get(self.start..self.end).unwrap_or_default();
        let count = left.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.start += count;
        Ok(count)
    }
}

/// Reads until the end, an error, or nobody takes it any more.
fn run(mut input: impl Read, sender: &SyncSender<Message>, blocks: &Receiver<Vec<u8>>) {
    loop {
        let mut block = blocks.try_recv().unwrap_or_else(|_| vec![0; BLOCK]);
        let (length, last) = fill(&mut input, &mut block);
        if length > 0 && sender.send(Message::Block(block, length)).is_err() {
            return;
        }
        if let Some(last) = last {
            // Whoever does not wait for it does not need it.
            drop(sender.send(last));
            return;
        }
    }
}

/// Fills a block, unless the input ends or fails: then the second value says so.
fn fill(input: &mut impl Read, block: &mut [u8]) -> (usize, Option<Message>) {
    let mut length = 0;
    while let Some(room) = block.get_mut(length..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => return (length, Some(Message::End)),
            Ok(count) => length += count.min(room.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (length, Some(Message::Failed(error))),
        }
    }
    (length, None)
}
