// SPDX-License-Identifier: CDDL-1.0
//! Counters, and the macro that defines a set of them: what is written above one is its documentation, the help text of
//! its metric, and of nothing else.
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts up. Nobody orders anything by it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// `counters! { Live => Read { /// help  name, ... } }`: `Live` counts, `Read` is what it had counted at some time.
macro_rules! counters {
    ($(#[$meta:meta])* $live:ident => $read:ident { $($(#[doc = $doc:literal])+ $name:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $live { $($(#[doc = $doc])+ pub(crate) $name: $crate::stats::counter::Counter,)* }

        #[doc = concat!("What [`", stringify!($live), "`] had counted at some time.")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $read { $($(#[doc = $doc])+ pub $name: u64,)* }

        impl $live {
            /// The counters one after the other, in the order they are defined in: while they change, one may be
            /// ahead of another by what happened meanwhile.
            pub(crate) fn read(&self) -> $read {
                $read { $($name: self.$name.get(),)* }
            }
        }

        impl $read {
            /// Both together, each counter on its own.
            #[must_use]
            pub fn plus(&self, other: &$read) -> $read {
                $read { $($name: self.$name + other.$name,)* }
            }

            /// Each: name, what it means, value.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+).trim_ascii(), self.$name),)*].into_iter()
            }
        }
    };
}
pub(crate) use counters;
