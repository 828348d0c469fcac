// SPDX-License-Identifier: CDDL-1.0
//! The text that Prometheus reads (exposition format 0.0.4): one family a counter, with its documentation as help.
use super::Report;
use super::latency::Latencies;
use crate::Varpd;
use std::fmt::{Display, Write};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper ends of the buckets of latencies, as powers of two of nanoseconds: 1 us to 69 s, four times as long each.
const POWERS: [u32; 14] = [10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36];

/// Families in the order they came, each with its samples.
#[derive(Default)]
struct Families(Vec<(String, String)>);

impl Families {
    fn add(&mut self, name: &str, kind: &str, help: &str, sample: &str) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, text)) => text.push_str(sample),
            None => {
                let text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{sample}");
                self.0.push((name.to_owned(), text));
            }
        }
    }

    fn sample(&mut self, name: &str, kind: &str, help: &str, labels: &str, value: impl Display) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        self.add(name, kind, help, &format!("{name}{labels} {value}\n"));
    }

    fn counters(
        &mut self,
        prefix: &str,
        labels: &str,
        all: impl Iterator<Item = (&'static str, &'static str, u64)>,
    ) {
        for (name, help, value) in all {
            self.sample(&format!("varpd_{prefix}{name}_total"), "counter", help, labels, value);
        }
    }

    fn latencies(&mut self, labels: &str, l: &Latencies) {
        let name = "varpd_lookup_seconds";
        let (count, mut text) = (l.count(), String::new());
        for power in POWERS {
            let le = (1_u64 << power) as f64 / 1e9;
            let below = l.below_power(power);
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{le}\"}} {below}");
        }
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", l.sum_ns() as f64 / 1e9);
        let _ = writeln!(text, "{name}_count{{{labels}}} {count}");
        self.add(name, "histogram", "From the kernel's question to the answer.", &text);
    }
}

/// A label's value, quoted.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

impl Varpd {
    /// Everything that is counted, as Prometheus reads it.
    pub fn metrics(&self) -> String {
        let (report, latencies) = self.report_all();
        text(&report, &latencies)
    }
}

fn text(report: &Report, latencies: &[Latencies]) -> String {
    let mut all = Families::default();
    let help = "Instances, thus links that varpd answers lookups of.";
    all.sample("varpd_instances", "gauge", help, "", report.instances.len());
    for (i, latencies) in report.instances.iter().zip(latencies) {
        let (c, plugin) = (&i.counts, quoted(&i.plugin));
        let labels = format!("instance=\"{}\",link=\"{}\",plugin={plugin}", i.id, i.link);
        all.counters("lookups_", &labels, c.lookups.each());
        let help = "Lookups that have no answer yet.";
        all.sample("varpd_lookups_outstanding", "gauge", help, &labels, c.outstanding);
        all.counters("routes_", &labels, c.routes.each());
        all.latencies(&labels, latencies);
        for (protocol, counts) in [("arp", c.arp), ("ndp", c.ndp), ("dhcp", c.dhcp)] {
            all.counters("proxy_", &format!("{labels},protocol=\"{protocol}\""), counts.each());
        }
        all.counters("persist_", &labels, c.persist.each());
        if let Some(error) = &c.last_error {
            let help = "When something went wrong last; varpdadm has the text.";
            let name = "varpd_last_error_timestamp_seconds";
            all.sample(name, "gauge", help, &labels, error.time);
        }
    }
    let help = "Lookups dropped because no instance takes them.";
    all.sample("varpd_lookups_unplaced_total", "counter", help, "", report.varpd.unplaced);
    for (command, counts) in &report.varpd.door {
        all.counters("door_", &format!("command={}", quoted(command)), counts.each());
    }
    all.0.into_iter().map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::*;
    use zerocopy::FromZeros;

    #[test]
    fn samples_follow_their_family() {
        let stats = OfInstance::default();
        let lookup = overlay_targ_lookup_t::new_zeroed();
        stats.ended(stats.asked(&lookup, true), Lookup::Found);
        stats.asked(&lookup, false);
        stats.error("no".into());
        let instance = |id: u64, plugin: &str| {
            let (counts, _) = stats.read();
            InstanceReport { id, link: 7, vnetid: 3, dcid: 0, plugin: plugin.into(), counts }
        };
        let varpd = OfVarpd::default();
        varpd.called(VARPD_CLIENT_CREATE, 1, Err(Errno::ENOENT));
        varpd.called(99, 1, Ok(()));
        varpd.called(v2::VARPD_CLIENT_ROUTE_WALK, 1, Ok(()));
        let report = Report {
            varpd: varpd.read(),
            instances: vec![instance(1, "files"), instance(2, "a\"b\\c\nd")],
        };
        let (_, latencies) = stats.read();
        let text = text(&report, &[latencies.clone(), latencies]);
        for line in [
            "# HELP varpd_lookups_found_total Lookups that the plugin answered with a destination.",
            "# TYPE varpd_lookups_found_total counter",
            "varpd_lookups_found_total{instance=\"1\",link=\"7\",plugin=\"files\"} 1",
            "varpd_lookups_asked_total{instance=\"2\",link=\"7\",plugin=\"a\\\"b\\\\c\\nd\"} 2",
            "varpd_lookups_outstanding{instance=\"1\",link=\"7\",plugin=\"files\"} 1",
            "varpd_proxy_answered_total{instance=\"1\",link=\"7\",plugin=\"files\",protocol=\"ndp\"} 0",
            "varpd_lookup_seconds_count{instance=\"1\",link=\"7\",plugin=\"files\"} 1",
            "varpd_lookup_seconds_bucket{instance=\"1\",link=\"7\",plugin=\"files\",le=\"+Inf\"} 1",
            "varpd_door_errors_total{command=\"create\"} 1",
            "varpd_door_calls_total{command=\"other\"} 1",
            "varpd_door_calls_total{command=\"route_walk\"} 1",
            "varpd_routes_found_total{instance=\"1\",link=\"7\",plugin=\"files\"} 1",
            "varpd_routes_asked_total{instance=\"1\",link=\"7\",plugin=\"files\"} 1",
            "varpd_instances 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        // Each family is in one piece, after its help.
        let mut families = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
                Some((name, _)) => families.push(name),
                None => assert!(
                    line.trim_start_matches("# TYPE ").starts_with(families.last().unwrap())
                ),
            }
        }
        let count = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), count);
    }
}
