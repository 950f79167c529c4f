//! JSON logs: one object a line on stdout.

use std::io::Write as _;

use serde_json::Value;

/// Writes log lines for one service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    service: &'static str,
}

impl Log {
    pub(crate) fn new(service: &'static str) -> Self {
        Self { service }
    }

    pub(crate) fn info(self, logger: &str, message: &str, context: &[(&str, Value)]) {
        self.line("INFO", logger, message, context);
    }

    pub(crate) fn warning(self, logger: &str, message: &str, context: &[(&str, Value)]) {
        self.line("WARNING", logger, message, context);
    }

    pub(crate) fn error(self, logger: &str, message: &str, context: &[(&str, Value)]) {
        self.line("ERROR", logger, message, context);
    }

    fn line(self, level: &str, logger: &str, message: &str, context: &[(&str, Value)]) {
        let line = render(jiff::Timestamp::now(), level, logger, message, self.service, context);
        // Nobody is left to be told when stdout is gone.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

/// One line, its newline included.
fn render(
    timestamp: jiff::Timestamp,
    level: &str,
    logger: &str,
    message: &str,
    service: &str,
    context: &[(&str, Value)],
) -> String {
    let timestamp = format!("{timestamp:.3}");
    let head = [
        ("timestamp", timestamp.as_str()),
        ("level", level),
        ("logger", logger),
        ("message", message),
        ("service", service),
    ];
    // Written pair by pair: a JSON object of the library would sort its keys, and people read these lines.
    let head = head.iter().map(|(key, text)| pair(key, &Value::from(*text)));
    let pairs: Vec<String> = head.chain(context.iter().map(|(key, value)| pair(key, value))).collect();
    format!("{{{}}}\n", pairs.join(","))
}

fn pair(key: &str, value: &Value) -> String {
    format!("{}:{value}", Value::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_is_in_it() {
        let at = jiff::Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let line =
            render(at, "ERROR", "redis", "two\nlines \"quoted\"", "hsc-jit-backend", &[("client_id", "a".into())]);
        assert!(line.starts_with(r#"{"timestamp":"#), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["timestamp"], "2023-11-14T22:13:20.123Z");
        assert_eq!(value["level"], "ERROR");
        assert_eq!(value["logger"], "redis");
        assert_eq!(value["message"], "two\nlines \"quoted\"");
        assert_eq!(value["service"], "hsc-jit-backend");
        assert_eq!(value["client_id"], "a");
    }
}
