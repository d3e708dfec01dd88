//! The broker's configuration file.
#![no_main]

use std::path::Path;

use countersign::config::Config;
use fuzz::within_memory;

libfuzzer_sys::fuzz_target!(|text: &str| {
    within_memory(|| {
        let _ = Config::parse(text, Path::new("/etc/countersign/countersign.toml"));
    });
});
