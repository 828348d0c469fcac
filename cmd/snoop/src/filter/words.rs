// SPDX-License-Identifier: CDDL-1.0
//! From text to words.
//!
//! Words are between blanks and signs. Addresses and names have `-`, `/` and `:` in them, so these
//! three are signs only between brackets, and `-` and `/` where a word would begin as well.

/// Signs wherever they are.
const SIGNS: &str = "()[],!+*%&|^=<>";
/// Signs that may be in a word.
const DOUBTFUL: &str = "-/:";

pub(super) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    let mut brackets = 0_usize;
    let mut in_word = false;
    while let Some(c) = chars.next() {
        let doubtful = match c {
            ':' => brackets > 0,
            '-' | '/' => brackets > 0 || !in_word,
            _ => false,
        };
        if c.is_whitespace() {
            in_word = false;
        } else if SIGNS.contains(c) || doubtful {
            brackets = match c {
                '[' => brackets.saturating_add(1),
                ']' => brackets.saturating_sub(1),
                _ => brackets,
            };
            let mut sign = String::from(c);
            sign.extend("=<>!".contains(c).then(|| chars.next_if(|n| *n == '=')).flatten());
            words.push(sign);
            in_word = false;
        } else if in_word && let Some(word) = words.last_mut() {
            word.push(c);
        } else {
            words.push(c.into());
            in_word = true;
        }
    }
    words
}

/// Whether a word is a sign.
pub(super) fn is_sign(word: &str) -> bool {
    word.starts_with(|c| SIGNS.contains(c)) || (word.len() == 1 && DOUBTFUL.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> String {
        words(text).join(" ")
    }

    #[test]
    fn words_are_between_blanks_and_signs() {
        assert_eq!(split("!(tcp,red-1)"), "! ( tcp , red-1 )");
        assert_eq!(split("net 10.0.0.0/8 fd00::1/64"), "net 10.0.0.0/8 fd00::1/64");
        assert_eq!(split("vlan-id 3 2:8:20:0:0:1"), "vlan-id 3 2:8:20:0:0:1");
        assert_eq!(split("ip[ip[0]&0xf*4:2]=2049"), "ip [ ip [ 0 ] & 0xf * 4 : 2 ] = 2049");
        assert_eq!(split("ether[length-1]!=0"), "ether [ length - 1 ] != 0");
        assert_eq!(split("length>=60 and length ==-1"), "length >= 60 and length == - 1");
        assert_eq!(split("ip[2:2]/4<9"), "ip [ 2 : 2 ] / 4 < 9");
    }
}
