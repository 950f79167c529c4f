//! The words of a manual, out of HTML or PDF.

/// Fewer letters than this are no manual.
const LETTERS_MIN: usize = 20;

/// A document without words that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the PDF has no plain text (compressed PDFs are not read)")]
    Pdf,
    #[error("the document is neither HTML nor PDF")]
    Unknown,
    #[error("the document is empty")]
    Empty,
}

/// The words of the document, on one line, single spaces between them.
pub(crate) fn words(document: &[u8]) -> Result<String, Unreadable> {
    let is_pdf = document.starts_with(b"%PDF-");
    let text = if is_pdf {
        pdf_text(document)
    } else {
        let html = std::str::from_utf8(document).map_err(|_| Unreadable::Unknown)?;
        html_text(html)
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().filter(|character| character.is_alphabetic()).count() >= LETTERS_MIN {
        Ok(text)
    } else {
        Err(if is_pdf { Unreadable::Pdf } else { Unreadable::Empty })
    }
}

/// Text between tags, without scripts and styles.
fn html_text(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, tag_on)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        let name: String = tag_on.chars().take_while(char::is_ascii_alphabetic).collect();
        let name = name.to_ascii_lowercase();
        let end = if name == "script" || name == "style" { format!("</{name}") } else { String::new() };
        // Lower case in ASCII keeps every byte's place.
        let tag_on = tag_on.to_ascii_lowercase().find(&end).map_or("", |at| &tag_on[at..]);
        rest = tag_on.split_once('>').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&nbsp;", " "), ("&amp;", "&")] {
        text = text.replace(entity, character);
    }
    text
}

/// Literal strings that a page shows: `(…) Tj`, and those in `[…] TJ`.
///
/// Only uncompressed content streams have any. Escapes: `\(`, `\)`, `\\`; others become spaces.
fn pdf_text(pdf: &[u8]) -> String {
    let content = String::from_utf8_lossy(pdf);
    let mut text = String::new();
    // `BT` … `ET`, each on a line of its own, enclose what is shown.
    for block in content.split("BT\n").skip(1) {
        let block = block.split("\nET").next().unwrap_or_default();
        let mut characters = block.chars();
        let mut in_string = false;
        while let Some(character) = characters.next() {
            match (in_string, character) {
                (false, '(') => in_string = true,
                (true, ')') => {
                    in_string = false;
                    text.push(' ');
                }
                (true, '\\') => match characters.next() {
                    Some(escaped @ ('(' | ')' | '\\')) => text.push(escaped),
                    Some(_) | None => text.push(' '),
                },
                (true, character) => text.push(character),
                (false, _) => {}
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(document: &[u8], expect: Result<&str, Unreadable>) {
        assert_eq!(words(document), expect.map(str::to_owned), "{:?}", String::from_utf8_lossy(document));
    }

    #[test]
    fn reads_documents() {
        check(
            b"<h1>The owner&#39;s</h1><p>manual of the  drum\nmodule</p>",
            Ok("The owner&#39;s manual of the drum module"),
        );
        check(
            b"<script>var a = '<p>';</script><p>Press the power button &amp; hold it</p>",
            Ok("Press the power button & hold it"),
        );
        check(b"<STYLE>p{}</STYLE><p>Press the power button and hold it", Ok("Press the power button and hold it"));
        check(b"Plain text of a manual is read as well", Ok("Plain text of a manual is read as well"));
        check(b"<p>short</p>", Err(Unreadable::Empty));
        check(b"", Err(Unreadable::Empty));
        check(b"<script>never ended and much longer than twenty letters", Err(Unreadable::Empty));
        check(b"\xff\xfe\x00garbage", Err(Unreadable::Unknown));
        check(
            b"%PDF-1.4\nstream\nBT\n/F1 12 Tf (Press \\(and hold\\)) Tj\n[(the power) -20 (button)] TJ\nET\nendstream",
            Ok("Press (and hold) the power button"),
        );
        check(b"%PDF-1.4\n(This is no shown text at all) \n", Err(Unreadable::Pdf));
        check(b"%PDF-1.4\n\xff\xfe\xfd", Err(Unreadable::Pdf));
    }

    proptest! {
        #[test]
        fn no_document_breaks_it(document in prop::collection::vec(any::<u8>(), 0..300), html in "[<>/a-z& ]{0,80}") {
            let _ = words(&document);
            let _ = words(&[b"%PDF-".as_slice(), &document].concat());
            let _ = words(html.as_bytes());
        }
    }
}
