//! `mibe image cat`.

use mibe_image::listing::{self, escape};
use zfs_stream::Kind;
use zfs_stream::read::{Event, NoContents};

use super::{Output, Readings, failed, find, open, path_in_image};
use crate::cli::ImageCat;
use crate::error::{CommandError, Kind as ErrorKind};

pub fn run(arguments: &ImageCat) -> Result<(), CommandError> {
    // Where a file is, is told by directories that may come after it.
    let chain = open(&arguments.image, Readings::Several)?;
    let files = chain.files(&mut NoContents).map_err(failed)?;
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
            let what = match other {
                Kind::BlockDevice => "block device",
                Kind::CharDevice => "character device",
                other => listing::kind(other),
            };
            let message = format!("/{} is a {what}, not a file", escape(&path));
            return Err(CommandError::new(ErrorKind::Failed, message));
        }
    }
    let mut out = Output::new();
    let (mut position, mut is_in, mut goes_on) = (0, false, true);
    let mut snapshot = chain.snapshot().map_err(failed)?;
    while goes_on
        && let Some(event) = snapshot
            .next()
            .map_err(|error| failed(chain.failed(error)))?
    {
        match event {
            Event::Object(dnode) if dnode.object > node.object => break,
            Event::Object(dnode) => is_in = dnode.object == node.object,
            Event::Data { offset, bytes } if is_in && offset < node.size => {
                let count = (node.size - offset).min(bytes.len() as u64);
                goes_on =
                    zeroes(&mut out, offset - position) && out.bytes(&bytes[..count as usize]);
                position = offset + count;
            }
            Event::Data { .. } | Event::Spill(_) => {}
        }
    }
    if goes_on {
        zeroes(&mut out, node.size - position);
    }
    out.finish()
}

/// Writes zeroes; false when there is no use in going on.
fn zeroes(out: &mut Output, mut count: u64) -> bool {
    const ZEROES: &[u8] = &[0; 64 << 10];
    while count > 0 {
        let now = count.min(ZEROES.len() as u64);
        if !out.bytes(&ZEROES[..now as usize]) {
            return false;
        }
        count -= now;
    }
    true
}
