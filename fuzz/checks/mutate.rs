//! Changes of inputs, for a test that has no fuzzer.

/// Pieces that are put into inputs: what Python may send and few programs do.
const PIECES: [&[u8]; 24] = [
    b"\\udce9",
    b"\\ud83d\\ude00",
    b"\\u0000",
    b"\\u001b[2J",
    b"\xed\xb3\xa9",
    b"9999-12-31T23:59:59.999999",
    b"0001-01-01T00:00:00+12:00",
    b"{\"__type__\": \"foo\", \"__value__\": 1}",
    b"{\"__type__\": \"datetime\", \"__value__\": 1}",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"123456789012345678901234567890",
    b"null",
    b"\"",
    b"\\",
    b"}",
    b"\x00",
    b"@",
    b";",
    b"://",
    "é".as_bytes(),
    "日".as_bytes(),
];

/// A source of random numbers that is the same in each run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`, or 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }
}

/// Changes an input in a few places. `other` is another input, of which a part may be taken.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let length = random.below(16).min(input.len() - at);
        match random.below(6) {
            0 if at < input.len() => input[at] = random.below(256) as u8,
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 => drop(input.drain(at..at + length)),
            3 => {
                let copied = input[at..at + length].to_vec();
                input.splice(at..at, copied);
            }
            4 => {
                let from = random.below(other.len() + 1);
                let length = random.below(64).min(other.len() - from);
                input.splice(at..at, other[from..from + length].iter().copied());
            }
            _ => drop(input.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
        }
    }
}
