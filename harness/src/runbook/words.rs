//! A command line taken apart into words, as a shell does it, without a shell.

/// A line that needs a shell, or is cut in the middle of a quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A quote that does not end.
    #[error("the quote `{0}` does not end")]
    OpenQuote(char),
    /// A backslash at the end.
    #[error("the line ends with a backslash")]
    OpenEscape,
    /// Something that only a shell can do.
    #[error("`{0}` needs a shell, and there is none: write one plain command")]
    Shell(char),
}

/// What has a meaning to a shell outside quotes; `<` and `>` also catch placeholders.
const SHELL: &str = "|&;<>()$`*?[]{}#~!\n";

/// Splits a line at blanks; quotes and backslashes work as in a POSIX shell.
///
/// # Errors
/// [`WordsError`] for what only a shell could do: nothing is expanded, nothing is ignored.
pub fn words(line: &str) -> Result<Vec<String>, WordsError> {
    let mut commands = pipeline(line)?;
    match (commands.pop(), commands.is_empty()) {
        (Some(words), true) => Ok(words),
        _ => Err(WordsError::Shell('|')),
    }
}

/// Splits a pipeline into its commands, and each of them into words. Every command has some,
/// but for the only one of an empty line.
///
/// # Errors
/// As [`words`].
pub fn pipeline(line: &str) -> Result<Vec<Vec<String>>, WordsError> {
    let mut commands = Vec::new();
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.trim().chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => quoted(letter, &mut letters, word.get_or_insert_default())?,
            '\\' => match letters.next().ok_or(WordsError::OpenEscape)? {
                // The line goes on below.
                '\n' => {}
                escaped => word.get_or_insert_default().push(escaped),
            },
            '|' => {
                words.extend(word.take());
                if words.is_empty() {
                    return Err(WordsError::Shell('|'));
                }
                commands.push(std::mem::take(&mut words));
            }
            // Only at the start of a word does it begin a comment.
            '#' if word.is_some() => word.get_or_insert_default().push(letter),
            _ if SHELL.contains(letter) => return Err(WordsError::Shell(letter)),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    if words.is_empty() && !commands.is_empty() {
        return Err(WordsError::Shell('|'));
    }
    commands.push(words);
    Ok(commands)
}

/// The inside of a quote, up to its end.
fn quoted(quote: char, letters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    loop {
        match letters.next().ok_or(WordsError::OpenQuote(quote))? {
            end if end == quote => return Ok(()),
            '\\' if quote == '"' => match letters.next().ok_or(WordsError::OpenQuote(quote))? {
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            expands @ ('$' | '`') if quote == '"' => return Err(WordsError::Shell(expands)),
            letter => word.push(letter),
        }
    }
}
