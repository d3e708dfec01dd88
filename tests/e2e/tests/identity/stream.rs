//! The event stream as a relying party reads it.

use std::{
    io::{BufRead, BufReader},
    sync::mpsc::{Receiver, channel},
    thread::spawn,
    time::Duration,
};

use e2e::http::Client;
use serde_json::Value;

/// Events as they arrive, each with its number.
pub(crate) struct Events(Receiver<(u64, Value)>);

impl Events {
    /// Subscribes; `headers` may say where to begin.
    pub(crate) fn open(client: &Client, headers: &str) -> Self {
        let stream = client.open("GET", "/v1/events", headers, None).unwrap();
        let (sender, receiver) = channel();
        spawn(move || {
            let mut number = 0;
            for line in BufReader::new(stream).lines() {
                // The broker or the test is over.
                let Ok(line) = line else { return };
                if let Some(id) = line.strip_prefix("id: ") {
                    number = id.parse().unwrap();
                }
                if let Some(data) = line.strip_prefix("data: ")
                    && sender.send((number, serde_json::from_str(data).unwrap())).is_err()
                {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next event, which must come within a second.
    pub(crate) fn next(&self) -> (u64, Value) {
        self.0.recv_timeout(Duration::from_secs(1)).unwrap_or_else(|_| panic!("expected an event within a second"))
    }

    /// Lease and cause of the next `count` events, sorted.
    pub(crate) fn ends(&self, count: usize) -> Vec<(String, String)> {
        let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
        let mut ends: Vec<_> = (0..count)
            .map(|_| {
                let (_, event) = self.next();
                (text(&event, "lease"), text(&event, "cause"))
            })
            .collect();
        ends.sort();
        ends
    }
}
