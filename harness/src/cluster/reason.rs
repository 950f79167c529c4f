//! Errors of the Kubernetes client, in the words of one line.

use std::error::Error;

/// What the server said, or why it could not be asked: the outermost and the innermost cause.
pub(crate) fn reason(error: &kube::Error) -> String {
    match error {
        // What is not an API server answers with pages of its own.
        kube::Error::Api(status) => line_of(&status.message),
        other => {
            let (outer, inner) = (first_line(other), first_line(innermost(other)));
            if outer.contains(&inner) { outer } else { format!("{outer}: {inner}") }
        }
    }
}

/// The cause below all others.
pub(super) fn innermost(error: &dyn Error) -> &dyn Error {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}

/// An error without the picture that some draw below it.
pub(super) fn first_line(error: &dyn Error) -> String {
    line_of(&error.to_string())
}

fn line_of(text: &str) -> String {
    text.trim().lines().next().unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn an_answer_is_told_in_one_line() {
        for (message, expected) in
            [("pods \"a\" not found", "pods \"a\" not found"), ("<html>\n<body>", "<html>"), ("", "no message")]
        {
            let status = Status { code: 404, message: message.to_owned(), ..Status::default() };
            assert_eq!(reason(&kube::Error::Api(status.boxed())), expected);
        }
    }
}
