//! `mibe image cat`.

use std::io;

use mibe_image::listing::{self, escape};
use zfs_stream::Kind;
use zfs_stream::read::{Event, NoContents};

use super::{Output, Readings, failed, find, open, path_in_image};
use crate::cli::ImageCat;
use crate::error::{CommandError, Kind as ErrorKind};

pub fn run(arguments: &ImageCat) -> Result<(), CommandError> {
    // Where a file is, is told by directories that may come after it.
    let opened = open(&arguments.image, Readings::Several)?;
    let files = opened.chain.files(&mut NoContents).map_err(failed)?;
    let path = path_in_image(&files, &arguments.path);
    let node = find(&files, &path)?;
    match node.kind {
        Kind::File => {}
        Kind::Symlink => {
            let message = format!(
                "/{} is a symbolic link to {}",
                escape(&path),
                escape(node.target())
            );
            return Err(CommandError::new(ErrorKind::Failed, message)
                .hint("name the file that it leads to".to_owned()));
        }
        other => {
            let message = format!(
                "/{} is a {}, not a file",
                escape(&path),
                listing::kind(other)
            );
            return Err(CommandError::new(ErrorKind::Failed, message));
        }
    }
    let mut out = Output::new();
    let (mut position, mut is_in) = (0, false);
    let mut snapshot = opened.chain.snapshot().map_err(failed)?;
    let mut write = || -> Result<io::Result<()>, CommandError> {
        while let Some(event) = snapshot
            .next()
            .map_err(|error| failed(opened.chain.failed(error)))?
        {
            match event {
                Event::Object(dnode) if dnode.object > node.object => break,
                Event::Object(dnode) => is_in = dnode.object == node.object,
                Event::Data { offset, bytes } if is_in && offset < node.size => {
                    let count = (node.size - offset).min(bytes.len() as u64);
                    let written = zeroes(&mut out, offset - position)
                        .and_then(|()| out.bytes(&bytes[..count as usize]));
                    if written.is_err() {
                        return Ok(written);
                    }
                    position = offset + count;
                }
                Event::Data { .. } | Event::Spill(_) => {}
            }
        }
        Ok(zeroes(&mut out, node.size - position).and_then(|()| out.flush()))
    };
    match write()? {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::new(
            ErrorKind::Failed,
            format!("can't write the file: {error}"),
        )),
        _ => Ok(()),
    }
}

fn zeroes(out: &mut Output, mut count: u64) -> io::Result<()> {
    const ZEROES: &[u8] = &[0; 64 << 10];
    while count > 0 {
        let now = count.min(ZEROES.len() as u64);
        out.bytes(&ZEROES[..now as usize])?;
        count -= now;
    }
    Ok(())
}
