//! Archives made by hand, down to what no honest program writes.

/// An archive in the making.
#[derive(Clone, Default)]
pub struct Forge {
    pub bytes: Vec<u8>,
}

/// A ustar header of mode 0644, root's, of 1970; its checksum comes last, in [`Forge::header`].
pub fn header(kind: u8, name: &[u8], size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    put(&mut header, 0, &name[..name.len().min(100)]);
    put(&mut header, 100, b"0000644\0");
    put(&mut header, 108, b"0000000\0");
    put(&mut header, 116, b"0000000\0");
    set_size(&mut header, size);
    put(&mut header, 136, b"00000000000\0");
    header[156] = kind;
    put(&mut header, 257, b"ustar\x0000");
    put(&mut header, 329, b"0000000\0");
    put(&mut header, 337, b"0000000\0");
    header
}

pub fn put(header: &mut [u8; 512], at: usize, value: &[u8]) {
    header[at..at + value.len()].copy_from_slice(value);
}

/// Octal, or base 256 where that is too small.
pub fn number(size: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if size < 1 << 33 {
        field.copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&size.to_be_bytes());
    }
    field
}

pub fn set_size(header: &mut [u8; 512], size: u64) {
    put(header, 124, &number(size));
}

/// A pax record with its right length.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..rest + 10)
        .find(|length| rest + length.to_string().len() == *length)
        .unwrap();
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

impl Forge {
    /// A header as it is, with the right checksum.
    pub fn header(mut self, mut header: [u8; 512]) -> Self {
        put(&mut header, 148, b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self
    }

    /// Content, filled up to a block.
    pub fn data(mut self, data: &[u8]) -> Self {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn member(self, kind: u8, name: &[u8], data: &[u8]) -> Self {
        self.header(header(kind, name, data.len() as u64))
            .data(data)
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.member(b'0', name.as_bytes(), data)
    }

    pub fn directory(self, name: &str) -> Self {
        self.member(b'5', name.as_bytes(), b"")
    }

    pub fn link(self, kind: u8, name: &str, target: &str) -> Self {
        let mut header = header(kind, name.as_bytes(), 0);
        put(&mut header, 157, target.as_bytes());
        self.header(header)
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(b'2', name, target)
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(b'1', name, target)
    }

    /// Extended headers for the next member.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let data: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        self.member(b'x', b"PaxHeader", &data)
    }

    /// A device node.
    pub fn device(self, kind: u8, name: &str, major: &[u8], minor: &[u8]) -> Self {
        let mut header = header(kind, name.as_bytes(), 0);
        put(&mut header, 329, major);
        put(&mut header, 337, minor);
        self.header(header)
    }

    /// The two blocks of zeroes.
    pub fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }
}
