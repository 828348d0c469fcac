// SPDX-License-Identifier: CDDL-1.0
//! A line of text that is put together without allocation, for use in a signal handler. What does
//! not fit is left out.

/// The line, at most 1 KiB: names of plugins and hosts are short.
pub(super) struct Line {
    bytes: [u8; 1024],
    len: usize,
}

impl Line {
    pub(super) fn new() -> Line {
        Line { bytes: [0; 1024], len: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    /// Adds text as it is.
    pub(super) fn text(&mut self, text: &str) -> &mut Line {
        text.bytes().for_each(|b| self.byte(b));
        self
    }

    /// Adds a string of JSON.
    pub(super) fn string(&mut self, text: &str) -> &mut Line {
        self.byte(b'"');
        for b in text.bytes() {
            match b {
                b'"' | b'\\' => {
                    self.byte(b'\\');
                    self.byte(b);
                }
                0..0x20 => {
                    self.text("\\u00").digit(u64::from(b >> 4)).digit(u64::from(b & 15));
                }
                b => self.byte(b),
            }
        }
        self.byte(b'"');
        self
    }

    /// One hexadecimal digit.
    fn digit(&mut self, digit: u64) -> &mut Line {
        let digits = b"0123456789abcdef";
        self.byte(digits.get(digit as usize).copied().unwrap_or(b'?'));
        self
    }

    /// A number in hexadecimal digits, without leading zeros.
    pub(super) fn hex(&mut self, n: u64) -> &mut Line {
        if n >= 16 {
            self.hex(n / 16);
        }
        self.digit(n % 16)
    }

    /// A decimal number.
    pub(super) fn number(&mut self, n: u64) -> &mut Line {
        if n >= 10 {
            self.number(n / 10);
        }
        self.digit(n % 10)
    }

    /// A decimal number of exactly so many digits.
    fn digits(&mut self, n: u64, count: u32) -> &mut Line {
        for place in (0..count).rev() {
            self.digit(n / 10u64.pow(place) % 10);
        }
        self
    }

    /// A time since 1970 as in RFC 3339, in UTC and milliseconds.
    pub(super) fn time(&mut self, seconds: i64, nanoseconds: i64) -> &mut Line {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        let (year, month, day) = date(seconds / 86400);
        let of_day = seconds % 86400;
        self.digits(year, 4).text("-").digits(month, 2).text("-").digits(day, 2).text("T");
        self.digits(of_day / 3600, 2).text(":").digits(of_day / 60 % 60, 2).text(":");
        self.digits(of_day % 60, 2).text(".");
        self.digits(u64::try_from(nanoseconds).unwrap_or(0) / 1_000_000, 3).text("Z")
    }
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar.
///
/// Counted from 1 March of the year 0, so that the day that some years have is the last of a year.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (cycle, day) = (day / 146_097, day % 146_097);
    // Years of the cycle of 400, each with the leap days before it taken off.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 30.6 days, rounded.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = 400 * cycle + year;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(make: impl FnOnce(&mut Line) -> &mut Line) -> String {
        let mut line = Line::new();
        make(&mut line);
        String::from_utf8(line.bytes().to_vec()).unwrap()
    }

    #[test]
    fn strings_and_numbers() {
        assert_eq!(made(|l| l.string("a\"b\\c\n\u{fc}")), r#""a\"b\\c\u000aü""#);
        assert_eq!(made(|l| l.number(0).text(" ").number(4711)), "0 4711");
        assert_eq!(made(|l| l.hex(0).text(" ").hex(0xdead_beef)), "0 deadbeef");
    }

    #[test]
    fn times() {
        assert_eq!(made(|l| l.time(0, 0)), "1970-01-01T00:00:00.000Z");
        // Checked with date(1).
        for (seconds, text) in [
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_164_799, "2024-02-28T23:59:59.007Z"),
            (1_795_180_765, "2026-11-20T13:19:25.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(made(|l| l.time(seconds, 7_999_999)), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        assert_eq!(made(|l| l.text(&"x".repeat(5000))).len(), 1024);
    }
}
