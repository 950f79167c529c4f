//! kubectl command lines, as they stand in a runbook, as values.
//!
//! The harness carries a command out itself, so that a rehearsal needs no kubectl
//! and no shell. Whatever is not understood in full is refused by name: a flag that
//! is skipped over would rehearse another command than the one in the runbook.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::annotations::{annotations, quoted};
use super::words::{WordsError, pipeline};
use crate::scenario::object::ObjectRef;
use crate::scenario::plan::WorkloadRef;

mod secret;

/// What can be carried out, for hints.
pub const UNDERSTOOD: &str = "understood are `kubectl rollout restart KIND/NAME`, `kubectl rollout undo KIND/NAME \
                              [--to-revision=N]`, `kubectl scale KIND/NAME --replicas=N`, `kubectl annotate KIND/NAME \
                              KEY=VALUE [--overwrite]`, `kubectl delete pod NAME` and \
                              `kubectl create secret generic NAME --from-literal=KEY='PLACEHOLDER_IN_CAPITALS' \
                              --dry-run=client -o yaml | kubectl apply -f -`, each with `-n NAMESPACE`";

/// What nobody types: somebody outside puts the provider right. It stands where a command
/// would, since the time of a budget from the remedy counts from it.
pub const PROVIDER_ANSWERS_AGAIN: &str = "the provider answers again";

/// What nobody types: somebody starts the registry again. It stands where a command would, for
/// the same reason.
pub const REGISTRY_ANSWERS_AGAIN: &str = "the registry answers again";

/// What nobody types: somebody lets a workload's network be whole again. As above.
pub const NETWORK_IS_WHOLE_AGAIN: &str = "the network is whole again";

/// A runbook command that the harness can carry out itself.
///
/// It keeps the text it was read from; that text is what reports show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The command line as written.
    pub text: String,
    /// What it does.
    pub action: Action,
    /// The namespace it names; absent where it goes by the context.
    pub namespace: Option<String>,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `kubectl rollout restart KIND/NAME`.
    RolloutRestart(WorkloadRef),
    /// `kubectl rollout undo KIND/NAME [--to-revision=N]`.
    RolloutUndo {
        /// Which workload.
        workload: WorkloadRef,
        /// To which revision; the one before the current one where absent.
        to_revision: Option<u64>,
    },
    /// `kubectl scale KIND/NAME --replicas=N`.
    Scale {
        /// Which workload.
        workload: WorkloadRef,
        /// To how many replicas.
        replicas: u32,
    },
    /// `kubectl annotate KIND/NAME KEY=VALUE KEY- [--overwrite]`.
    Annotate {
        /// Which object.
        object: ObjectRef,
        /// What becomes of which annotation; absent where it is removed.
        changes: BTreeMap<String, Option<String>>,
        /// Whether an annotation that is there may be set to another value.
        overwrite: bool,
    },
    /// `kubectl delete pod NAME`.
    DeletePod {
        /// Its name.
        name: String,
    },
    /// `kubectl create secret generic NAME --from-literal=KEY='PLACEHOLDER' --dry-run=client
    /// -o yaml | kubectl apply -f -`.
    ApplySecret {
        /// Its name.
        name: String,
        /// Which of its keys.
        key: String,
        /// What stands for the value, which nobody writes down.
        placeholder: String,
    },
    /// [`PROVIDER_ANSWERS_AGAIN`].
    ProviderAnswersAgain,
    /// [`REGISTRY_ANSWERS_AGAIN`].
    RegistryAnswersAgain,
    /// [`NETWORK_IS_WHOLE_AGAIN`].
    NetworkIsWholeAgain,
}

/// A command line that the harness cannot carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It is no list of words.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// It is not kubectl's.
    #[error("`{0}` is not kubectl: {UNDERSTOOD}")]
    NotKubectl(String),
    /// kubectl knows it, the harness does not.
    #[error("`kubectl {0}` cannot be carried out here: {UNDERSTOOD}")]
    Verb(String),
    /// A flag that would change what the command does.
    #[error("flag `{flag}` of `kubectl{}{verb}` is not understood; {UNDERSTOOD}", if verb.is_empty() { "" } else { " " })]
    Flag {
        /// The flag, with its dashes.
        flag: String,
        /// The command it was given to; empty where it stands before one.
        verb: String,
    },
    /// A flag that stands twice.
    #[error("flag `{0}` is given twice")]
    Twice(String),
    /// A flag without its value, or with one that is no number.
    #[error("flag `{flag}` needs {needs}, not `{value}`")]
    Value {
        /// The flag, with its dashes.
        flag: String,
        /// What it needs.
        needs: &'static str,
        /// What it has.
        value: String,
    },
    /// A flag that must be there.
    #[error("`kubectl {verb}` needs `{flag}`")]
    Absent {
        /// The command.
        verb: &'static str,
        /// The flag.
        flag: &'static str,
    },
    /// A value that should not stand in any file; it is not shown.
    #[error("the value of `{0}` stands in clear: write a placeholder in capitals for it, such as `NEW_API_KEY_HERE`")]
    InClear(String),
    /// Not exactly one object.
    #[error("`kubectl {verb}` needs {needs}, not `{given}`")]
    Object {
        /// The command.
        verb: &'static str,
        /// What it needs.
        needs: &'static str,
        /// What was given instead.
        given: String,
    },
}

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let (action, namespace) = match pipeline(text)?.as_slice() {
            _ if text.trim() == PROVIDER_ANSWERS_AGAIN => (Action::ProviderAnswersAgain, None),
            _ if text.trim() == REGISTRY_ANSWERS_AGAIN => (Action::RegistryAnswersAgain, None),
            _ if text.trim() == NETWORK_IS_WHOLE_AGAIN => (Action::NetworkIsWholeAgain, None),
            [command] => {
                let mut line = Line::read(of_kubectl(command)?)?;
                let namespace = line.take(&["--namespace", "-n"])?;
                let action = line.action()?;
                line.nothing_left()?;
                (action, namespace)
            }
            [create, apply] if secret::is_apply(apply) => secret::read(of_kubectl(create)?)?,
            _ => return Err(WordsError::Shell('|').into()),
        };
        Ok(Self { text: text.trim().to_owned(), action, namespace })
    }
}

/// What follows the program's name.
fn of_kubectl(words: &[String]) -> Result<&[String], CommandError> {
    match words.split_first() {
        Some((program, rest)) if program == "kubectl" => Ok(rest),
        Some((program, _)) => Err(CommandError::NotKubectl(program.clone())),
        None => Err(CommandError::NotKubectl(String::new())),
    }
}

impl Command {
    /// The command in its plainest form.
    #[must_use]
    pub fn new(action: Action, namespace: Option<String>) -> Self {
        let in_namespace = namespace.as_ref().map_or_else(String::new, |namespace| format!(" -n {namespace}"));
        let text = match &action {
            Action::ProviderAnswersAgain | Action::RegistryAnswersAgain | Action::NetworkIsWholeAgain => {
                action.to_string()
            }
            Action::ApplySecret { .. } => format!("kubectl {action}{in_namespace} | {}", secret::APPLY),
            _ => format!("kubectl {action}{in_namespace}"),
        };
        Self { text, action, namespace }
    }
}

/// The text as written.
impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// kubectl's words for it, without `kubectl`, without a namespace and without what it is piped into.
impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RolloutRestart(workload) => write!(formatter, "rollout restart {workload}"),
            Self::RolloutUndo { workload, to_revision: None } => write!(formatter, "rollout undo {workload}"),
            Self::RolloutUndo { workload, to_revision: Some(revision) } => {
                write!(formatter, "rollout undo {workload} --to-revision={revision}")
            }
            Self::Scale { workload, replicas } => write!(formatter, "scale {workload} --replicas={replicas}"),
            Self::Annotate { object, changes, overwrite } => {
                write!(formatter, "annotate {object}")?;
                for (key, value) in changes {
                    match value {
                        Some(value) => write!(formatter, " {}", quoted(&format!("{key}={value}")))?,
                        None => write!(formatter, " {key}-")?,
                    }
                }
                formatter.write_str(if *overwrite { " --overwrite" } else { "" })
            }
            Self::DeletePod { name } => write!(formatter, "delete pod {name}"),
            Self::ApplySecret { name, key, placeholder } => write!(
                formatter,
                "create secret generic {name} --from-literal={key}='{placeholder}' --dry-run=client -o yaml"
            ),
            Self::ProviderAnswersAgain => formatter.write_str(PROVIDER_ANSWERS_AGAIN),
            Self::RegistryAnswersAgain => formatter.write_str(REGISTRY_ANSWERS_AGAIN),
            Self::NetworkIsWholeAgain => formatter.write_str(NETWORK_IS_WHOLE_AGAIN),
        }
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The flags that take a value; every other flag is refused where it stands.
const WITH_VALUE: [&str; 7] = ["--namespace", "-n", "--replicas", "--to-revision", "--from-literal", "--output", "-o"];

/// A command line without its program: flags taken out, the rest in order.
struct Line {
    plain: Vec<String>,
    flags: Vec<(String, String)>,
}

impl Line {
    fn read(words: &[String]) -> Result<Self, CommandError> {
        let mut line = Self { plain: Vec::new(), flags: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') || word == "-" {
                line.plain.push(word.clone());
                continue;
            }
            let (flag, value) = split_flag(word);
            // Whether the next word is its value cannot be known, so neither can the verb.
            if line.plain.is_empty() && !WITH_VALUE.contains(&flag.as_str()) {
                return Err(CommandError::Flag { flag, verb: String::new() });
            }
            let value = match value {
                Some(value) => value,
                None if WITH_VALUE.contains(&flag.as_str()) => words.next().cloned().unwrap_or_default(),
                None => String::new(),
            };
            line.flags.push((flag, value));
        }
        Ok(line)
    }

    /// The value of a flag with several spellings, the long one first.
    fn take(&mut self, spellings: &[&str]) -> Result<Option<String>, CommandError> {
        let Some(place) = self.flags.iter().position(|(flag, _)| spellings.contains(&flag.as_str())) else {
            return Ok(None);
        };
        let (flag, value) = self.flags.remove(place);
        if self.flags.iter().any(|(other, _)| spellings.contains(&other.as_str())) {
            return Err(CommandError::Twice(flag));
        }
        if value.is_empty() || value.starts_with('-') {
            return Err(CommandError::Value { flag, needs: "a value", value });
        }
        Ok(Some(value))
    }

    fn number<N: FromStr>(&mut self, flag: &'static str) -> Result<Option<N>, CommandError> {
        self.take(&[flag])?
            .map(|value| {
                let wrong = |value| CommandError::Value { flag: flag.to_owned(), needs: "a number from 0 up", value };
                value.parse().map_err(|_| wrong(value))
            })
            .transpose()
    }

    /// Whether a flag without a value, or with `true` or `false`, is set.
    fn switch(&mut self, flag: &'static str) -> Result<bool, CommandError> {
        let Some(place) = self.flags.iter().position(|(given, _)| given == flag) else { return Ok(false) };
        let (_, value) = self.flags.remove(place);
        if self.flags.iter().any(|(given, _)| given == flag) {
            return Err(CommandError::Twice(flag.to_owned()));
        }
        match value.as_str() {
            "" | "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(CommandError::Value { flag: flag.to_owned(), needs: "`true` or `false`", value }),
        }
    }

    fn action(&mut self) -> Result<Action, CommandError> {
        let words: Vec<&str> = self.plain.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["rollout", "restart", object @ ..] => workload("rollout restart", object).map(Action::RolloutRestart),
            ["rollout", "undo", object @ ..] => {
                let workload = workload("rollout undo", object)?;
                // kubectl's own default, 0, means the revision before.
                let to_revision = self.number("--to-revision")?.filter(|revision| *revision != 0);
                Ok(Action::RolloutUndo { workload, to_revision })
            }
            ["scale", object @ ..] => {
                let workload = workload("scale", object)?;
                let replicas = self.number("--replicas")?;
                let replicas = replicas.ok_or(CommandError::Absent { verb: "scale", flag: "--replicas" })?;
                Ok(Action::Scale { workload, replicas })
            }
            ["annotate", rest @ ..] => {
                let (object, changes) = annotations(rest)?;
                let overwrite = self.switch("--overwrite")?;
                Ok(Action::Annotate { object, changes, overwrite })
            }
            ["delete", object @ ..] if is_pod(object) => pod(object),
            ["rollout" | "delete", second, ..] => Err(CommandError::Verb(format!("{} {second}", words[0]))),
            [verb, ..] => Err(CommandError::Verb((*verb).to_owned())),
            [] => Err(CommandError::Verb(String::new())),
        }
    }

    fn nothing_left(self) -> Result<(), CommandError> {
        match self.flags.into_iter().next() {
            None => Ok(()),
            Some((flag, _)) => {
                let verb = self.plain.iter().take_while(|word| !word.contains('/')).take(2);
                Err(CommandError::Flag { flag, verb: verb.map(String::as_str).collect::<Vec<_>>().join(" ") })
            }
        }
    }
}

/// `--flag=value`, `-n=value` and `-nvalue` taken apart, as kubectl's flag library does.
fn split_flag(word: &str) -> (String, Option<String>) {
    if let Some((flag, value)) = word.split_once('=') {
        return (flag.to_owned(), Some(value.to_owned()));
    }
    match word.strip_prefix("-n") {
        Some(value) if !value.is_empty() => ("-n".to_owned(), Some(value.to_owned())),
        _ => (word.to_owned(), None),
    }
}

/// `deployment/backend`, `deployment.apps/backend` or `deployment backend`.
fn workload(verb: &'static str, object: &[&str]) -> Result<WorkloadRef, CommandError> {
    let wrong =
        || CommandError::Object { verb, needs: "one `deployment/NAME` or `statefulset/NAME`", given: object.join(" ") };
    let (kind, name) = match object {
        [one] => one.split_once('/').ok_or_else(wrong)?,
        [kind, name] => (*kind, *name),
        _ => return Err(wrong()),
    };
    if !is_name(name) {
        return Err(wrong());
    }
    let kind = kind.strip_suffix(".apps").unwrap_or(kind);
    format!("{kind}/{name}").parse().map_err(|_| wrong())
}

fn is_pod(object: &[&str]) -> bool {
    let first = object.first().copied().unwrap_or_default();
    matches!(first.split('/').next(), Some("pod" | "pods" | "po"))
}

/// `pod NAME` or `pod/NAME`.
fn pod(object: &[&str]) -> Result<Action, CommandError> {
    let name = match object {
        [one] => one.split_once('/').map(|(_, name)| name),
        [kind, name] if !kind.contains('/') => Some(*name),
        _ => None,
    };
    match name {
        Some(name) if is_name(name) => Ok(Action::DeletePod { name: name.to_owned() }),
        _ => {
            let given = object.join(" ");
            Err(CommandError::Object { verb: "delete pod", needs: "one pod by name", given })
        }
    }
}

/// Names of pods and workloads: DNS subdomains. It keeps placeholders such as `<pod-name>` out.
pub(crate) fn is_name(name: &str) -> bool {
    let inner = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.len() <= 253
        && name.bytes().all(|letter| inner(letter) || letter == b'-' || letter == b'.')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner)
}
