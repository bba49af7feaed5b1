//! The Fletcher-4 checksum of a stream (`zfs_fletcher.c`).

/// Running state: four sums modulo 2^64 over little-endian 32-bit words, each a sum of the one
/// before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fletcher4(pub [u64; 4]);

impl Fletcher4 {
    /// Takes in `data`, whose length must be a multiple of 4 (bytes beyond the last whole word are
    /// not looked at; every part of a stream is a multiple of 8 long).
    pub fn update(&mut self, data: &[u8]) {
        let [mut a, mut b, mut c, mut d] = self.0;
        let (words, _) = data.as_chunks::<4>();
        for word in words {
            a = a.wrapping_add(u64::from(u32::from_le_bytes(*word)));
            b = b.wrapping_add(a);
            c = c.wrapping_add(b);
            d = d.wrapping_add(c);
        }
        self.0 = [a, b, c, d];
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
}
