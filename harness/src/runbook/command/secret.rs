//! How runbooks change a Secret that is there: create it by dry run, and apply what that prints.

use super::{Action, CommandError, Line, is_name};

/// What the Secret is piped into.
pub(super) const APPLY: &str = "kubectl apply -f -";

/// Whether a command applies what is piped into it, and does nothing else.
pub(super) fn is_apply(words: &[String]) -> bool {
    words.iter().map(String::as_str).eq(APPLY.split(' '))
}

/// `create secret generic NAME --from-literal=KEY=PLACEHOLDER --dry-run=client -o yaml`.
pub(super) fn read(words: &[String]) -> Result<(Action, Option<String>), CommandError> {
    const VERB: &str = "create secret generic";
    let absent = |flag| CommandError::Absent { verb: VERB, flag };
    let mut line = Line::read(words)?;
    let namespace = line.take(&["--namespace", "-n"])?;
    let name = match line.plain.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["create", "secret", "generic", name] if is_name(name) => (*name).to_owned(),
        ["create", "secret", "generic", given @ ..] => {
            let given = given.join(" ");
            return Err(CommandError::Object { verb: VERB, needs: "one Secret by name", given });
        }
        given => return Err(CommandError::Verb(given.join(" "))),
    };
    // Without it the Secret would be created on the spot, which fails where there is one.
    line.take(&["--dry-run"])?.filter(|how| how == "client").ok_or(absent("--dry-run=client"))?;
    line.take(&["--output", "-o"])?.filter(|form| matches!(form.as_str(), "yaml" | "json")).ok_or(absent("-o yaml"))?;
    let literal = line.take(&["--from-literal"])?.ok_or(absent("--from-literal"))?;
    let (key, placeholder) = literal.split_once('=').unwrap_or((&literal, ""));
    if !is_placeholder(placeholder) {
        return Err(CommandError::InClear(key.to_owned()));
    }
    line.nothing_left()?;
    Ok((Action::ApplySecret { name, key: key.to_owned(), placeholder: placeholder.to_owned() }, namespace))
}

/// Capitals with underscores between them: what nobody takes for a value.
fn is_placeholder(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|letter| letter.is_ascii_uppercase());
    text.contains('_') && text.split('_').all(is_word)
}
