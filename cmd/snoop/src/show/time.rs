// SPDX-License-Identifier: CDDL-1.0
//! When a packet came.

use chrono::{DateTime, Local};
use std::time::Duration;

/// From when time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TimeStyle {
    /// The first packet
    #[value(name = "r")]
    Relative,
    /// Midnight, in this machine's time zone
    #[value(name = "a")]
    Absolute,
    /// The packet before
    #[value(name = "d")]
    Delta,
}

/// Remembers the packets from which time is counted.
#[derive(Debug)]
pub struct Clock {
    style: TimeStyle,
    from: Option<Duration>,
}

impl Clock {
    pub fn new(style: TimeStyle) -> Clock {
        Clock { style, from: None }
    }

    /// The time of the next packet. One from before the other is `-`.
    pub fn show(&mut self, time: Duration) -> String {
        let from = self.from.unwrap_or(time);
        match self.style {
            TimeStyle::Absolute => return absolute(time),
            TimeStyle::Relative => self.from = Some(from),
            TimeStyle::Delta => self.from = Some(time),
        }
        let (sign, length) = match time.checked_sub(from) {
            Some(after) => ("", after),
            None => ("-", from.saturating_sub(time)),
        };
        format!("{:>10}", format!("{sign}{}.{:06}", length.as_secs(), length.subsec_micros()))
    }
}

fn absolute(time: Duration) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let utc = DateTime::from_timestamp(seconds, time.subsec_nanos()).unwrap_or_default();
    utc.with_timezone(&Local).format("%H:%M:%S%.6f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_from_the_first_or_the_one_before() {
        let shown = |style| {
            let mut clock = Clock::new(style);
            let times = [1_000_000, 3_500_000, 2_000_000, 2_000_001];
            times.map(|us| clock.show(Duration::from_micros(us)).trim().to_owned())
        };
        let relative = ["0.000000", "2.500000", "1.000000", "1.000001"];
        assert_eq!(shown(TimeStyle::Relative), relative);
        assert_eq!(shown(TimeStyle::Delta), ["0.000000", "2.500000", "-1.500000", "0.000001"]);
        // Minutes and seconds are those of any time zone.
        assert!(shown(TimeStyle::Absolute)[1].ends_with(":03.500000"));
    }
}
