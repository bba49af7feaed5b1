//! Random blocks, there and back and damaged on the way; their compressors are our own or of the crates that expand.

use std::io::Write as _;

use proptest::prelude::*;

use super::{GZIP_6, LZ4, LZJB, ZLE, ZSTD, expanded, zstd_block};
use crate::read::codec::CodecError;

/// LZJB of a block: an independent compressor, which takes the longest copy there is.
fn lzjb(block: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    let (mut map, mut bit, mut at) = (0, 8, 0);
    while at < block.len() {
        if bit == 8 {
            (map, bit) = (data.len(), 0);
            data.push(0);
        }
        let copy = (1..=at.min(1023))
            .map(|distance| {
                let equal = (0..66.min(block.len() - at))
                    .take_while(|step| block[at + step] == block[at + step - distance])
                    .count();
                (equal, distance)
            })
            .max();
        if let Some((length @ 3.., distance)) = copy {
            data[map] |= 1 << bit;
            data.extend((((length - 3) << 10 | distance) as u16).to_be_bytes());
            at += length;
        } else {
            data.push(block[at]);
            at += 1;
        }
        bit += 1;
    }
    data
}

/// ZLE of a block: an independent compressor, whose runs are of random length.
fn zle(block: &[u8], lengths: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut rest = block;
    let mut lengths = lengths
        .iter()
        .map(|length| usize::from(*length) + 1)
        .cycle();
    while !rest.is_empty() {
        let zeroes = rest.iter().take_while(|byte| **byte == 0).count();
        let length = lengths.next().unwrap();
        let run = if zeroes > 0 {
            let run = zeroes.min(length).min(192);
            data.push((63 + run) as u8);
            run
        } else {
            let run = rest.len().min(length).min(64);
            data.push((run - 1) as u8);
            data.extend(&rest[..run]);
            run
        };
        rest = &rest[run..];
    }
    data
}

/// A block as a compressor of ours makes it.
fn compressed(id: u8, block: &[u8], random: &[u8]) -> Vec<u8> {
    match id {
        LZJB => lzjb(block),
        ZLE => zle(block, random),
        LZ4 => {
            let data = lz4_flex::block::compress(block);
            [&(data.len() as u32).to_be_bytes(), data.as_slice()].concat()
        }
        ZSTD => zstd_block(&ruzstd::encoding::compress_to_vec(
            block,
            ruzstd::encoding::CompressionLevel::Fastest,
        )),
        _ => {
            let level = flate2::Compression::new(u32::from(random[0] % 10));
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(block).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn any_block() -> impl Strategy<Value = Vec<u8>> {
    let run = (
        proptest::collection::vec(any::<u8>(), 1..40),
        1..30_usize,
        0..80_usize,
    );
    proptest::collection::vec(run, 1..12).prop_map(|runs| {
        let runs = runs
            .into_iter()
            .map(|(bytes, times, zeroes)| [bytes.repeat(times), vec![0; zeroes]].concat());
        runs.collect::<Vec<_>>().concat()
    })
}

fn any_id() -> impl Strategy<Value = u8> {
    proptest::sample::select(vec![LZJB, GZIP_6, ZLE, LZ4, ZSTD])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn blocks_come_back(
        id in any_id(),
        block in any_block(),
        random in proptest::collection::vec(any::<u8>(), 1..20),
        padding in 0..600_usize,
    ) {
        let mut data = compressed(id, &block, &random);
        data.resize(data.len() + padding, 0);
        prop_assert_eq!(expanded(id, &data, block.len()), Ok(block));
    }

    /// Nothing but the result is told: that it is one at all is the point.
    #[test]
    fn damage_is_survived(
        id in any_id(),
        block in any_block(),
        random in proptest::collection::vec(any::<u8>(), 1..20),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        size in 0..20_000_usize,
    ) {
        let mut data = compressed(id, &block, &random);
        for (at, byte) in damage {
            *at.get_mut(&mut data) = byte;
        }
        for size in [size, block.len()] {
            if let Err(CodecError::Damaged { offset, .. }) = expanded(id, &data, size) {
                prop_assert!(offset <= data.len());
            }
        }
    }

    #[test]
    fn noise_is_survived(id in any::<u8>(), data in proptest::collection::vec(any::<u8>(), 0..300), size in 0..9000_usize) {
        for id in [id, id % 17] {
            if let Err(CodecError::Damaged { offset, .. }) = expanded(id, &data, size) {
                prop_assert!(offset <= data.len());
            }
        }
    }
}
