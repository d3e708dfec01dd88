//! As much of HPACK (RFC 7541) as is needed to find one value in a header block and to change characters of it in place.

/// How many symbols of the Huffman code have so many bits, from 1 on (RFC 7541, Appendix B). The code is canonical: the codes
/// of one length follow one another, and the first of the next length follows the last.
const SYMBOLS: [u32; 30] =
    [0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];
/// Codes of six bits.
const PERCENT: u32 = 0b01_0101;
const SLASH: u32 = 0b01_1000;
const HYPHEN: u32 = 0b01_0110;
/// `:authority` in the static table, and its name, plain and in the Huffman code.
const STATIC_INDEX: usize = 1;
const NAME: &[u8] = b":authority";
const CODED_NAME: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// Turns `%` and `/` of every `:authority` into `-`. `None` when the block is no HPACK; it may be changed in part then.
pub(crate) fn plain_authority(block: &mut [u8]) -> Option<()> {
    let mut place = 0;
    while let Some(&first) = block.get(place) {
        // RFC 7541 §6: an indexed field, a new size, or a literal with its name by index or in full.
        let prefix = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let (index, next) = integer(block, place, prefix)?;
        place = next;
        if first & 0x80 != 0 || first & 0xe0 == 0x20 {
            continue;
        }
        let mut is_authority = index == STATIC_INDEX;
        if index == 0 {
            let (coded, name, next) = string(block, place)?;
            is_authority = block.get(name)? == if coded { CODED_NAME } else { NAME };
            place = next;
        }
        let (coded, value, next) = string(block, place)?;
        if is_authority {
            let value = block.get_mut(value)?;
            if coded { replace_coded(value)? } else { replace_plain(value) }
        }
        place = next;
    }
    Some(())
}

/// An integer with a prefix of so many bits (§5.1), and where it ends.
fn integer(block: &[u8], place: usize, prefix: u32) -> Option<(usize, usize)> {
    let mask = 0xff_u8.checked_shr(8_u32.checked_sub(prefix)?)?;
    let first = block.get(place)? & mask;
    let mut place = place.checked_add(1)?;
    let mut value = usize::from(first);
    if first < mask {
        return Some((value, place));
    }
    // Three more bytes: two million, more than any block has.
    for shift in [0, 7, 14] {
        let byte = *block.get(place)?;
        place = place.checked_add(1)?;
        value = value.checked_add(usize::from(byte & 0x7f).checked_shl(shift)?)?;
        if byte & 0x80 == 0 {
            return Some((value, place));
        }
    }
    None
}

/// A string (§5.2): whether it is coded, where its bytes are, and where it ends.
fn string(block: &[u8], place: usize) -> Option<(bool, std::ops::Range<usize>, usize)> {
    let coded = block.get(place)? & 0x80 != 0;
    let (length, start) = integer(block, place, 7)?;
    let end = start.checked_add(length)?;
    (end <= block.len()).then_some((coded, start..end, end))
}

fn replace_plain(value: &mut [u8]) {
    for byte in value.iter_mut().filter(|byte| matches!(**byte, b'%' | b'/')) {
        *byte = b'-';
    }
}

fn replace_coded(value: &mut [u8]) -> Option<()> {
    let bits = value.len().checked_mul(8)?;
    let mut start = 0;
    while start < bits {
        let Some((code, length)) = symbol(value, start) else {
            // Less than a byte of ones may follow the last symbol (§5.2).
            return (bits.checked_sub(start)? < 8).then_some(());
        };
        if length == 6 && matches!(code, PERCENT | SLASH) {
            for offset in 0..6_u32 {
                let wanted = HYPHEN.checked_shr(5_u32.checked_sub(offset)?)? & 1 == 1;
                set_bit(value, start.checked_add(usize::try_from(offset).ok()?)?, wanted)?;
            }
        }
        start = start.checked_add(length)?;
    }
    Some(())
}

/// The code that begins at bit `start`, and its length.
fn symbol(value: &[u8], start: usize) -> Option<(u32, usize)> {
    let (mut code, mut first) = (0_u32, 0_u32);
    for (length, count) in (1..).zip(SYMBOLS) {
        code = code.checked_mul(2)?.checked_add(u32::from(bit(value, start.checked_add(length)?.checked_sub(1)?)?))?;
        if code.checked_sub(first)? < count {
            return Some((code, length));
        }
        first = first.checked_add(count)?.checked_mul(2)?;
    }
    None
}

fn bit(value: &[u8], place: usize) -> Option<bool> {
    Some(value.get(place / 8)? & (0x80 >> (place % 8)) != 0)
}

fn set_bit(value: &mut [u8], place: usize, wanted: bool) -> Option<()> {
    let (byte, mask) = (value.get_mut(place / 8)?, 0x80 >> (place % 8));
    if wanted {
        *byte |= mask
    } else {
        *byte &= !mask
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::as_conversions, clippy::panic, reason = "tests")]

    use super::*;

    /// RFC 7541, Appendix B, as far as it is needed here.
    fn code(letter: char) -> &'static str {
        match letter {
            '2' => "00010",
            '%' => "010101",
            '-' => "010110",
            '.' => "010111",
            '/' => "011000",
            ':' => "1011100",
            'F' => "1100001",
            'a' => "00011",
            'h' => "100111",
            'i' => "00110",
            'm' => "101001",
            'o' => "00111",
            'p' => "101011",
            'r' => "101100",
            't' => "01001",
            'u' => "101101",
            'y' => "1111010",
            '|' => "111111111111100",
            other => panic!("no code for {other}"),
        }
    }

    fn coded(text: &str) -> Vec<u8> {
        let mut bits: String = text.chars().map(code).collect();
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    /// A string of the block (§5.2).
    fn string(text: &str, huffman: bool) -> Vec<u8> {
        let bytes = if huffman { coded(text) } else { text.as_bytes().to_vec() };
        let flag = if huffman { 0x80 } else { 0 };
        [vec![flag | bytes.len() as u8], bytes].concat()
    }

    fn mended(mut block: Vec<u8>) -> Vec<u8> {
        plain_authority(&mut block).unwrap();
        block
    }

    #[test]
    fn every_form_of_the_authority_is_mended() {
        assert_eq!(coded(":authority"), CODED_NAME);
        let names: [&dyn Fn(u8) -> Vec<u8>; 3] =
            [&|kind| vec![kind | 1], &|kind| [vec![kind], string(":authority", false)].concat(), &|kind| {
                [vec![kind], string(":authority", true)].concat()
            }];
        for name in names {
            for kind in [0x40, 0x00, 0x10] {
                for huffman in [false, true] {
                    let block = |authority: &str| {
                        let other = [vec![0x44], string("/a.%2F", false), vec![0x82, 0x3f, 0x10]].concat();
                        [vec![0x20], other.clone(), name(kind), string(authority, huffman), other].concat()
                    };
                    assert_eq!(mended(block("tmp%2Fa.|/%%")), block("tmp-2Fa.|---"), "{kind} {huffman}");
                }
            }
        }
    }

    #[test]
    fn the_code_is_complete() {
        // Kraft's sum is one, in units of 2 to the power of -30.
        let sum: u64 = (1..).zip(SYMBOLS).map(|(bits, count)| u64::from(count) << (30 - bits)).sum();
        assert_eq!((sum, SYMBOLS.iter().sum::<u32>()), (1 << 30, 257));
    }

    #[test]
    fn bytes_that_are_no_block_are_said_to_be_none() {
        for mut block in [
            vec![0x41],
            vec![0x41, 0x05, b'a'],
            vec![0xff, 0x80, 0x80, 0x80, 0x80],
            vec![0x40],
            [vec![0x41, 0x82], vec![0xff; 2]].concat(),
        ] {
            assert_eq!(plain_authority(&mut block), None, "{block:?}");
        }
    }
}
