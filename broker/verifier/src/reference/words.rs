//! Names of pins as people say them.

/// `event.kernel` → `kernel`, `runtime.pcr4` → `PCR 4`, `launch` → `launch digest`.
pub(super) fn in_words(what: &str) -> String {
    if let Some(event) = what.strip_prefix("event.") {
        return event.replace('_', " ");
    }
    if let Some(register) = what.strip_prefix("runtime.") {
        let name = register.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = register.strip_prefix(name).unwrap_or_default();
        return format!("{} {number}", name.to_ascii_uppercase()).trim_end().to_owned();
    }
    match what {
        "launch" => "launch digest".to_owned(),
        "hwmodel" => "hardware model".to_owned(),
        "id_key_digest" => "ID key".to_owned(),
        "author_key_digest" => "author key".to_owned(),
        "guest_svn" => "guest SVN".to_owned(),
        other => other.replace('_', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn names_are_words() {
        let names =
            ["event.command_line", "runtime.pcr4", "runtime.rtmr1", "runtime", "launch", "host_data", "platform"];
        assert_eq!(
            names.map(in_words),
            ["command line", "PCR 4", "RTMR 1", "runtime", "launch digest", "host data", "platform"]
        );
    }
}
