//! What a guest asks an SSH certificate for (a line of a `.pub` file), and private key files: never a panic, and what is read is
//! written back to the same key.
#![no_main]

use fuzz::within_memory;
use keys::{secret::SecretBytes, ssh::SshPublicKey};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        if let Ok(line) = std::str::from_utf8(bytes)
            && let Ok(key) = SshPublicKey::parse(line)
        {
            let written = key.to_line("fuzz");
            assert_eq!(SshPublicKey::parse(&written).as_ref(), Ok(&key));
        }
        let _ = SshPublicKey::of_private_file(&SecretBytes::new(bytes.to_vec()));
    });
});
