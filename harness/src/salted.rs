//! Telling values apart without knowing them: salted hashes, made here and in a container.
//!
//! A salt is public. It makes the hashes of two runs differ, so that nobody can tell from
//! two reports whether the value is still the same.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Digits of a hash that are kept: enough to tell values apart.
const DIGITS: usize = 16;

/// A salt that follows from what it is made of.
pub(crate) fn salt(seed: u64, of: &str) -> String {
    digits(format!("{seed}/{of}").as_bytes())
}

/// The hash of a value.
pub(crate) fn hash(salt: &str, value: &[u8]) -> String {
    digits(&[salt.as_bytes(), value].concat())
}

/// A command that prints the hash of a variable of a container's environment. Its value is in
/// no command line: the shell that reads the variable is the one that passes it on.
pub(crate) fn of_variable(salt: &str, variable: &str) -> [String; 3] {
    ["sh".to_owned(), "-c".to_owned(), format!("printf '%s%s' {salt} \"${variable}\" | sha256sum")]
}

/// The hash in what [`of_variable`] printed.
pub(crate) fn printed(output: &str) -> Option<String> {
    let digits = output.get(..DIGITS)?;
    let whole = output.split_whitespace().next().is_some_and(|word| word.len() == 2 * Sha256::output_size());
    (whole && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| digits.to_owned())
}

/// Whether a name can be one of a variable: nothing in it means anything to a shell.
pub(crate) fn is_variable(name: &str) -> bool {
    let inner = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
    name.bytes().all(inner) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn digits(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes).iter().take(DIGITS / 2) {
        write!(text, "{byte:02x}").expect("a string can be written to");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_makes_the_same_hash() {
        for value in ["", "a", "a key with $HOME, `ticks` and 'quotes'", "100%s"] {
            let salt = salt(7, "a");
            let [shell, option, script] = of_variable(&salt, "A_KEY");
            let ran = std::process::Command::new(shell).args([option, script]).env("A_KEY", value).output().unwrap();
            let output = String::from_utf8(ran.stdout).unwrap();
            assert_eq!(printed(&output), Some(hash(&salt, value.as_bytes())), "{value}: {output}");
        }
    }

    #[test]
    fn what_is_no_hash_is_not_read_as_one() {
        for output in ["", "sh: sha256sum: not found", "0123456789abcdef  -"] {
            assert_eq!(printed(output), None, "{output}");
        }
        assert_ne!(hash(&salt(1, "a"), b"x"), hash(&salt(2, "a"), b"x"));
        for (name, expect) in [("GEMINI_API_KEY", true), ("_a1", true), ("1A", false), ("", false), ("A;reboot", false)]
        {
            assert_eq!(is_variable(name), expect, "{name}");
        }
    }
}
