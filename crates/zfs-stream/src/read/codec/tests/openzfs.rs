//! Has real OpenZFS (the library of the oracle) compress and expand blocks, out of Python.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Takes jobs, each `compress? u8, compression u8, level u8, size u32, size of data u32, data`, and answers each with
/// `done? u8, size u32, data`.
const PYTHON: &str = r#"
import ctypes, os, struct, sys
zfs = ctypes.CDLL("libzpool.so.5")
zfs.kernel_init(ctypes.c_int(1))
zfs.abd_get_from_buf.restype = ctypes.c_void_p
zfs.abd_get_from_buf.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
zfs.zio_compress_data.restype = ctypes.c_size_t
zfs.zio_compress_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint8]
zfs.zio_decompress_data_buf.argtypes = [ctypes.c_int] + 2 * [ctypes.c_void_p] + 2 * [ctypes.c_size_t] + [ctypes.c_void_p]
jobs, at, answers = sys.stdin.buffer.read(), 0, []
while at < len(jobs):
    compress, compression, level, size, length = struct.unpack_from("<BBBII", jobs, at)
    at += 11
    data = jobs[at:at + length]
    at += length
    target = ctypes.create_string_buffer(max(size, length) + 8)
    # lzjb is not told where its input ends.
    source = ctypes.create_string_buffer(data, length + 2 * size + 8)
    if compress:
        kept = zfs.zio_compress_data(compression, zfs.abd_get_from_buf(source, length), target, length, level)
        # None is kept of zeroes.
        done, answer = 0 < kept < length, target.raw[:kept]
    else:
        done = zfs.zio_decompress_data_buf(compression, source, target, length, size, None) == 0
        answer = target.raw[:size]
    answers.append(struct.pack("<BI", done, len(answer)) + answer)
sys.stdout.buffer.write(b"".join(answers))
sys.stdout.flush()
os._exit(0)
"#;

/// What OpenZFS is to do with a block.
pub enum Job<'a> {
    /// Compress it; `level` is an `enum zio_zstd_levels`, and for zstd alone.
    Compress {
        compression: u8,
        level: u8,
        block: &'a [u8],
    },
    /// Expand it to so many bytes.
    Expand {
        compression: u8,
        data: &'a [u8],
        size: usize,
    },
}

/// Does all jobs; `None` where the block is not worth compressing or can't be expanded.
pub fn answers(jobs: &[Job]) -> Vec<Option<Vec<u8>>> {
    let Some(oracle) = std::env::var_os("MIBE_ORACLE") else {
        panic!(
            "MIBE_ORACLE is not set: these tests need real OpenZFS; run `cargo xtask test`, which builds it"
        );
    };
    let libraries = std::fs::read_dir(std::path::Path::new(&oracle).join("root/lib"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("libzpool.so.5").exists())
        .expect("the oracle has no libzpool");
    let mut input = Vec::new();
    for job in jobs {
        let (head, size, data) = match *job {
            Job::Compress {
                compression,
                level,
                block,
            } => ([1, compression, level], block.len(), block),
            Job::Expand {
                compression,
                data,
                size,
            } => ([0, compression, 0], size, data),
        };
        input.extend(head);
        input.extend((size as u32).to_le_bytes());
        input.extend((data.len() as u32).to_le_bytes());
        input.extend(data);
    }
    let output = through(
        Command::new("python3")
            .args(["-c", PYTHON])
            .env("LD_LIBRARY_PATH", libraries),
        input,
    );
    let mut rest = output.as_slice();
    let answers: Vec<_> = jobs
        .iter()
        .map(|_| {
            let done = rest[0] != 0;
            let (length, after) = rest[1..].split_first_chunk().unwrap();
            let (data, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            rest = after;
            done.then(|| data.to_vec())
        })
        .collect();
    assert!(rest.is_empty());
    answers
}

/// What a program makes of `input`.
pub fn through(command: &mut Command, input: Vec<u8>) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}
