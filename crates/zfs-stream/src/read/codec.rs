//! Blocks as `zfs send -c` and `-e` carry them.

/// Expands a block; `compression` is a number of `enum zio_compress`.
pub(crate) fn expand(
    _compression: u8,
    _input: &[u8],
    _output: &mut [u8],
) -> Result<(), &'static str> {
    Err("the block is compressed, which can't be read yet; send it without -c and -e")
}
