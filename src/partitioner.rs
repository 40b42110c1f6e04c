//! Which partition a key belongs to: Kafka's default for keyed records.
//!
//! Invariant: the same key gets the same partition here, from Java clients, and from librdkafka set to `murmur2_random`,
//! so that one key is fed by one partition whoever writes it.

/// The partition of a key among `partitions` (at least 1).
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let positive = murmur2(key) as u32 & 0x7fff_ffff;
    positive % partitions.max(1)
}

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// 32-bit MurmurHash2 with Kafka's seed; signed as Java has it.
pub fn murmur2(bytes: &[u8]) -> i32 {
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k ^= k >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    (hash ^ hash >> 15) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_own_tests() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_is_cleared_of_its_sign() {
        assert_eq!(partition_of(b"foobar", 10), 1_357_151_166 % 10);
        assert_eq!(partition_of(b"foobar", 1), 0);
        assert_eq!(partition_of(b"", 0), 0);
    }
}
