//! `.dockerignore`: which files of a context stay behind. Patterns are those of Docker: paths from the
//! context's root with `*`, `?`, `[…]` and `**`; the last one that fits decides, and `!` takes back.

/// The rules of one `.dockerignore`.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    parts: Vec<String>,
    /// Whether it takes back what others ignore.
    keeps: bool,
}

impl Ignored {
    /// Reads the rules; every text has some, if only ones that fit nothing.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.starts_with('#')).map(str::trim);
        let rule = |line: &str| {
            let (keeps, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
            Rule { parts: parts(pattern).into_iter().map(str::to_owned).collect(), keeps }
        };
        Self { rules: lines.map(rule).filter(|rule| !rule.parts.is_empty()).collect() }
    }

    /// Whether a file or directory stays behind, by its path in the context.
    pub(super) fn ignores(&self, path: &str) -> bool {
        let path = parts(path);
        self.rules.iter().fold(false, |ignored, rule| if rule.fits(&path) { !rule.keeps } else { ignored })
    }

    /// Whether something in an ignored directory may be taken back.
    pub(super) fn takes_back(&self) -> bool {
        self.rules.iter().any(|rule| rule.keeps)
    }
}

impl Rule {
    /// A pattern that fits a directory fits all that is in it.
    fn fits(&self, path: &[&str]) -> bool {
        (1..=path.len()).any(|length| fits(&self.parts, &path[..length]))
    }
}

/// The parts of a path, without those that say nothing.
fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

fn fits(pattern: &[String], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, [])) if first == "**" => !path.is_empty(),
        Some((first, rest)) if first == "**" => (0..=path.len()).any(|skipped| fits(rest, &path[skipped..])),
        Some((first, rest)) => {
            let part = path.split_first().filter(|(part, _)| part_fits(first, part));
            part.is_some_and(|(_, behind)| fits(rest, behind))
        }
    }
}

/// Whether one part of a pattern fits one part of a path.
fn part_fits(pattern: &str, part: &str) -> bool {
    let mut characters = pattern.chars();
    match characters.next() {
        None => part.is_empty(),
        Some('*') => {
            let rest = characters.as_str();
            let ends = part.char_indices().map(|(at, _)| at).chain([part.len()]);
            ends.into_iter().any(|at| part_fits(rest, &part[at..]))
        }
        Some('?') => tail(part).is_some_and(|behind| part_fits(characters.as_str(), behind)),
        Some('[') => match characters.as_str().split_once(']') {
            Some((set, rest)) => part
                .chars()
                .next()
                .filter(|character| in_set(set, *character))
                .and_then(|_| tail(part))
                .is_some_and(|behind| part_fits(rest, behind)),
            None => false,
        },
        Some('\\') => match characters.next() {
            Some(literal) => part.strip_prefix(literal).is_some_and(|behind| part_fits(characters.as_str(), behind)),
            None => false,
        },
        Some(literal) => part.strip_prefix(literal).is_some_and(|behind| part_fits(characters.as_str(), behind)),
    }
}

fn tail(part: &str) -> Option<&str> {
    let mut characters = part.chars();
    characters.next().map(|_| characters.as_str())
}

/// `abc`, `a-z`, `^a-z`.
fn in_set(set: &str, character: char) -> bool {
    let (negated, set) = set.strip_prefix('^').map_or((false, set), |rest| (true, rest));
    let set: Vec<char> = set.chars().collect();
    let mut at = 0;
    let mut found = false;
    while at < set.len() {
        if let (Some('-'), Some(last)) = (set.get(at + 1), set.get(at + 2)) {
            found |= (set[at]..=*last).contains(&character);
            at += 3;
        } else {
            found |= set[at] == character;
            at += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_dockers() {
        let check = |rules: &str, path: &str, expect: bool| {
            assert_eq!(Ignored::parse(rules).ignores(path), expect, "{rules:?} on {path}");
        };
        check("", "a", false);
        check("target", "target", true);
        check("target", "target/debug/x", true);
        check("target/", "target/debug/x", true);
        check("/target", "target", true);
        check("target", "src/target", false);
        check("**/target", "src/deep/target/x", true);
        check("**/target", "target", true);
        check("src/**", "src/a/b", true);
        check("src/**", "src", false);
        check("a/**/z", "a/z", true);
        check("a/**/z", "a/b/c/z", true);
        check("*.md", "README.md", true);
        check("*.md", "docs/README.md", false);
        check("*/*.md", "docs/README.md", true);
        check("temp?", "temp1", true);
        check("temp?", "temp", false);
        check("[a-c]x", "bx", true);
        check("[^a-c]x", "bx", false);
        check("[a-", "a", false);
        check("\\*x", "*x", true);
        check("\\*x", "ax", false);
        check("# target\ntarget # not a comment", "target", false);
        check("*\n!src", "src/main.rs", false);
        check("*\n!src\nsrc/secret", "src/secret/key", true);
        check("*\n!*.md\nREADME.md", "README.md", true);
        check("!README.md\n*.md", "README.md", true);
        check("  a  \n", "a", true);
        check("./b/../a", "a", true);
    }

    proptest::proptest! {
        /// Whatever stands in the file, it is read, and a rule of a path's own name fits it.
        #[test]
        fn any_text_is_read(text in "[-!#*?\\[\\]\\\\a-c/.\n ]{0,40}", path in "[a-c]{1,3}(/[a-c]{1,3}){0,3}") {
            let before = Ignored::parse(&text);
            let _ = before.ignores(&path);
            let (ignored, taken_back) = (format!("{text}\n{path}"), format!("{text}\n!{path}"));
            proptest::prop_assert!(Ignored::parse(&ignored).ignores(&path));
            proptest::prop_assert!(!Ignored::parse(&taken_back).ignores(&path));
        }
    }
}
