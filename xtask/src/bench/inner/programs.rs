//! The programs that are measured: the libraries with as little around them as mibe has.

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::os::fd::AsFd as _;
use std::path::Path;

use camino::Utf8Path;
use mibe_image::file::{Compression, ImageWriter};
use mibe_image::library::ImagePaths;
use zfs_stream::{DirTree, StreamOptions, write_filesystem_threaded};

use crate::failure::{Context, Failure};

/// Writes the stream of a tree to standard output.
pub fn stream(tree: &Path) -> Result<(), Failure> {
    // Not io::stdout(), which looks for the ends of lines in all that it is given.
    let out = io::stdout().as_fd().try_clone_to_owned();
    let mut out = File::from(out.context(|| "can't write to standard output".to_owned())?);
    write(tree, &mut out)?;
    out.flush().context(|| "can't write the stream".to_owned())
}

/// Reads standard input to its end, as the process of a build does that takes the stream from the one that makes it.
pub fn drain() -> Result<(), Failure> {
    let mut input = io::stdin().lock();
    // As large as any user's pipe may be; the kernel's default holds half a record.
    let _ = nix::fcntl::fcntl(&input, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20));
    let mut buffer = vec![0; 1 << 18];
    while input
        .read(&mut buffer)
        .context(|| "can't read the stream".to_owned())?
        > 0
    {}
    Ok(())
}

/// Writes the .zfs.gz of a tree, digested and synced, as a build does.
pub fn capture(tree: &Path, file: &Path) -> Result<(), Failure> {
    let folder = file.parent().and_then(Utf8Path::from_path);
    let folder = folder.ok_or_else(|| Failure::usage("the file's folder must be UTF-8"))?;
    let paths = ImagePaths::new(folder, "bench", "1", Compression::Gzip);
    let mut writer =
        ImageWriter::create(&paths, "bench").context(|| "can't begin the file".to_owned())?;
    write(tree, &mut writer)?;
    let finished = writer
        .finish()
        .context(|| "can't end the file".to_owned())?;
    // It goes with `finished`, having no manifest; another name keeps it to be looked at.
    let written = finished
        .temporary_path()
        .ok_or_else(|| Failure::new("the file has no name"))?;
    let _ = fs::remove_file(file);
    fs::hard_link(written, file).context(|| format!("can't link {}", file.display()))
}

fn write(tree: &Path, out: &mut (impl Write + Send)) -> Result<(), Failure> {
    let options = StreamOptions {
        to_name: "bench/tree@final".to_owned(),
        to_guid: 1,
        creation_time: 0,
    };
    let mut source = DirTree::new(tree).context(|| format!("can't read {}", tree.display()))?;
    write_filesystem_threaded(&mut source, out, &options, &mut |_| ())
        .context(|| format!("can't write the stream of {}", tree.display()))?;
    Ok(())
}
