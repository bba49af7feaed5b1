//! The Fletcher-4 checksum of a stream (`zfs_fletcher.c`).

/// Running state: four sums modulo 2^64 over little-endian 32-bit words, each a sum of the one
/// before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fletcher4(pub [u64; 4]);

/// Pairs of words from which on it is faster to sum even and odd ones apart.
const WORTHWHILE: usize = 64;

impl Fletcher4 {
    /// Takes in `data`, whose length must be a multiple of 4 (bytes beyond the last whole word are
    /// not looked at; every part of a stream is a multiple of 8 long).
    pub fn update(&mut self, data: &[u8]) {
        let (words, _) = data.as_chunks::<4>();
        let (pairs, last) = words.as_chunks::<2>();
        if pairs.len() < WORTHWHILE {
            self.one_by_one(words);
        } else {
            self.append(Self::of_pairs(pairs), 2 * pairs.len() as u64);
            self.one_by_one(last);
        }
    }

    fn one_by_one(&mut self, words: &[[u8; 4]]) {
        let [mut a, mut b, mut c, mut d] = self.0;
        for word in words {
            a = a.wrapping_add(u64::from(u32::from_le_bytes(*word)));
            b = b.wrapping_add(a);
            c = c.wrapping_add(b);
            d = d.wrapping_add(c);
        }
        self.0 = [a, b, c, d];
    }

    /// The state after these words and none before them: sums over the even and the odd ones at the same time, which every
    /// x86-64 and ARM64 does in one vector, put together at the end (`fletcher_4_superscalar_fini`).
    fn of_pairs(pairs: &[[[u8; 4]; 2]]) -> Self {
        let add =
            |[a0, a1]: [u64; 2], [b0, b1]: [u64; 2]| [a0.wrapping_add(b0), a1.wrapping_add(b1)];
        let [[a0, a1], [b0, b1], [c0, c1], [d0, d1]] =
            pairs.iter().fold([[0; 2]; 4], |[a, b, c, d], pair| {
                let a = add(a, pair.map(|word| u64::from(u32::from_le_bytes(word))));
                let b = add(b, a);
                let c = add(c, b);
                [a, b, c, add(d, c)]
            });
        let times = u64::wrapping_mul;
        Self([
            a0.wrapping_add(a1),
            times(b0.wrapping_add(b1), 2).wrapping_sub(a1),
            times(c0.wrapping_add(c1), 4)
                .wrapping_sub(b0)
                .wrapping_sub(times(b1, 3)),
            times(d0.wrapping_add(d1), 8)
                .wrapping_sub(times(c0, 4))
                .wrapping_sub(times(c1, 8))
                .wrapping_add(b1),
        ])
    }

    /// Takes in `count` words of which the state after them and none before them is known
    /// (`fletcher_4_incremental_combine`).
    fn append(&mut self, Self(more): Self, count: u64) {
        let [sum, second, third, fourth] = self.0;
        // How often a sum of before comes into the one after it, the second after it and the third.
        let n = u128::from(count);
        let once = count;
        let twice = (n * (n + 1) / 2) as u64;
        // 2^42 words would be too many for it.
        let thrice = (n * (n + 1) / 2 * (n + 2) / 3) as u64;
        let times = u64::wrapping_mul;
        self.0 = [
            more[0].wrapping_add(sum),
            more[1].wrapping_add(second).wrapping_add(times(sum, once)),
            more[2]
                .wrapping_add(third)
                .wrapping_add(times(second, once))
                .wrapping_add(times(sum, twice)),
            more[3]
                .wrapping_add(fourth)
                .wrapping_add(times(third, once))
                .wrapping_add(times(second, twice))
                .wrapping_add(times(sum, thrice)),
        ];
    }

    /// The state as it stands in records.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (parts, _) = bytes.as_chunks_mut::<8>();
        for (part, sum) in parts.iter_mut().zip(self.0) {
            *part = sum.to_le_bytes();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_sums() {
        let mut state = Fletcher4::default();
        state.update(&[1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(state.0, [3, 4, 5, 6]);
        let mut parts = Fletcher4::default();
        parts.update(&[1, 0, 0, 0]);
        parts.update(&[2, 0, 0, 0]);
        assert_eq!(parts, state);
        assert_eq!(state.to_bytes()[8..16], [4, 0, 0, 0, 0, 0, 0, 0]);
    }

    /// Lengths around where the way of summing changes, from any state, with sums that overflow.
    #[test]
    fn same_in_pairs() {
        let data: Vec<u8> = (0..400_000_u32)
            .map(|number| (number.wrapping_mul(0x9E37_79B9) >> 13) as u8 | 0x80)
            .collect();
        for words in (0..300).chain([32_846, 32_847, 100_000]) {
            let mut state = Fletcher4([u64::MAX, 1 << 63, 12_345, u64::MAX / 3]);
            let mut expected = state;
            state.update(&data[..4 * words]);
            expected.one_by_one(data[..4 * words].as_chunks().0);
            assert_eq!(state, expected, "{words} words");
        }
    }
}
