//! Encoded tokens: hex or base64 around a text, which no client would decode.

use super::begins_with_one;

/// Shorter hex may be printable by chance.
const SHORTEST_HEX: usize = 32;

/// Base64 of the prefixes of well-known tokens: `ya29.`, `xoxb-`, `xoxp-`, `gho_`, `ghu_`, `ghr_`, `ghp_`,
/// `github_pat_`, `glpat-`, `shpat_`, and a JWT's `eyJhbGci` and `eyJ0eXAi`.
const HEADS: [&str; 12] = [
    "eWEyOS",
    "eG94Yi",
    "eG94cC",
    "Z2hvX",
    "Z2h1X",
    "Z2hyX",
    "Z2hwX",
    "Z2l0aHViX3Bhd",
    "Z2xwYXQt",
    "c2hwYXRf",
    "ZXlKaGJHY2",
    "ZXlKMGVYQW",
];

/// Returns true if a text is an encoded text.
pub(super) fn looks_so(text: &str) -> bool {
    is_text_in_hex(text.as_bytes()) || begins_with_one(text, &HEADS)
}

/// Every byte is printable ASCII: for random bytes, at most a one in four million chance at this length.
fn is_text_in_hex(bytes: &[u8]) -> bool {
    let (pairs, rest) = bytes.as_chunks::<2>();
    bytes.len() >= SHORTEST_HEX && rest.is_empty() && pairs.iter().all(|pair| is_printable(*pair))
        // Digits alone are more likely a number than a text.
        && bytes.iter().any(|byte| !byte.is_ascii_digit())
}

fn is_printable([high, low]: [u8; 2]) -> bool {
    match (high, low) {
        (b'2', b'1'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => true,
        (b'3'..=b'6', low) => low.is_ascii_hexdigit(),
        (b'7', low) => low.is_ascii_hexdigit() && !matches!(low, b'f' | b'F'),
        _ => false,
    }
}
