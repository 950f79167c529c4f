//! The table of fields: the text files in `table_of`, read once.
//!
//! A line that begins a type is `type NAME [root] [atomic]`; the indented lines below it are
//! its fields, `NAME TYPE` and then any of:
//!
//! | words | meaning |
//! |---|---|
//! | `by a,b` | a list whose items are told apart by these keys (the first one for strategic merge) |
//! | `set` | a list of distinct scalars |
//! | `atomic` | a map that has one owner as a whole |
//! | `always` | written even when it holds its zero value |
//! | `= JSON` | what stands there when it is absent |
//! | `required`, `min N`, `port`, `portname`, `amount`, `share`, `one of A\|B`, `is FORMAT`, `unique KEY`, `labels`, `annotations` | what must hold |
//! | `~ sentence` | accepted, has no effect here |
//! | `! sentence` | refused, for this reason |
//!
//! `~` and `!` may name values or map keys: `![A,B]` those, `![!A]` all others. Types are
//! those of Kubernetes' Go source: `*T` may be absent, a bare object type never is, and a
//! bare scalar is left out at its zero value. Fields separated by `;` share a line.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::kinds::Kind;

/// One object type.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) name: &'static str,
    /// Whether server-side apply sees it as one value.
    pub(super) atomic: bool,
    pub(super) fields: Vec<Field>,
}

/// One field of a type.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Whether absence differs from the zero value.
    pub(super) pointer: bool,
    pub(super) always: bool,
    pub(super) default: Option<Value>,
    pub(super) rules: Vec<Rule>,
    pub(super) effect: Effect,
}

/// What a value looks like.
#[derive(Debug)]
pub(super) enum Shape {
    Scalar(Scalar),
    Object(&'static str),
    List {
        item: Box<Shape>,
        identity: Identity,
    },
    Map {
        value: Scalar,
        atomic: bool,
    },
    /// Not looked into.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    String,
    Int32,
    Int64,
    Bool,
    Quantity,
    IntOrString,
    Time,
    Bytes,
}

/// How items of a list are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    Atomic,
    Set,
    Keys(Vec<&'static str>),
}

/// What must hold for a value.
#[derive(Debug)]
pub(super) enum Rule {
    Required,
    Min(i64),
    Port,
    PortName,
    /// A number or a percentage.
    Amount,
    /// A number or a percentage up to 100.
    Share,
    OneOf(Vec<&'static str>),
    Is(&'static str),
    Unique(&'static str),
    Labels,
    Annotations,
}

/// Whether a field does anything here.
#[derive(Debug)]
pub(super) enum Effect {
    Works,
    None { values: Values, because: &'static str },
    Refused { values: Values, because: &'static str },
}

/// The values (or map keys) that an [`Effect`] is about.
#[derive(Debug)]
pub(super) enum Values {
    All,
    These(Vec<&'static str>),
    Except(&'static str),
}

const SOURCES: [&str; 5] = [
    include_str!("table_of/meta.shape"),
    include_str!("table_of/core.shape"),
    include_str!("table_of/apps.shape"),
    include_str!("table_of/pod.shape"),
    include_str!("table_of/container.shape"),
];

static TABLE: LazyLock<BTreeMap<&'static str, Type>> = LazyLock::new(|| SOURCES.into_iter().flat_map(parse).collect());

/// The type of a kind's objects.
pub(super) fn of_kind(kind: &Kind) -> &'static Type {
    of(kind.kind)
}

/// The type of this name.
pub(super) fn of(name: &str) -> &'static Type {
    TABLE.get(name).expect("a test looks up every type the table names")
}

impl Type {
    /// The field of this name, if the type has it.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Field {
    /// Whether Go's zero object already holds this field.
    pub(super) fn is_never_absent(&self) -> bool {
        self.always || matches!(self.shape, Shape::Object(_)) && !self.pointer
    }
}

impl Shape {
    /// Whether server-side apply sees the value as one.
    pub(super) fn is_atomic(&self) -> bool {
        match self {
            Shape::Scalar(_) | Shape::Any => true,
            Shape::Object(name) => of(name).atomic,
            Shape::List { identity, .. } => *identity == Identity::Atomic,
            Shape::Map { atomic, .. } => *atomic,
        }
    }

    /// The value as Go writes it when nothing was given.
    pub(super) fn zero(&self) -> Value {
        match self {
            Shape::Scalar(Scalar::String) => "".into(),
            Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString) => 0.into(),
            Shape::Scalar(Scalar::Bool) => false.into(),
            Shape::Scalar(Scalar::Quantity) => "0".into(),
            Shape::Object(_) => Value::Object(serde_json::Map::new()),
            Shape::Scalar(Scalar::Time | Scalar::Bytes) | Shape::List { .. } | Shape::Map { .. } | Shape::Any => {
                Value::Null
            }
        }
    }
}

impl Values {
    /// Whether this value is meant; of a map, whether one of its keys is.
    pub(super) fn mean(&self, value: &Value) -> bool {
        let named = |name: &str| match self {
            Values::All => true,
            Values::These(names) => names.contains(&name),
            Values::Except(other) => *other != name,
        };
        match value {
            Value::String(text) => named(text),
            Value::Bool(bit) => named(if *bit { "true" } else { "false" }),
            Value::Array(items) if !matches!(self, Values::All) => items.iter().any(|item| self.mean(item)),
            Value::Object(map) if !matches!(self, Values::All) => map.keys().any(|key| named(key)),
            _ => matches!(self, Values::All),
        }
    }
}

fn parse(source: &'static str) -> Vec<(&'static str, Type)> {
    let mut types: Vec<(&'static str, Type)> = Vec::new();
    for line in source.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix("type ") {
            let mut words = header.split_whitespace();
            let name = words.next().expect("a type has a name");
            let marks: Vec<_> = words.collect();
            let fields =
                if marks.contains(&"root") { "apiVersion string; kind string; metadata ObjectMeta" } else { "" };
            let fields = fields.split("; ").filter(|text| !text.is_empty()).map(parse_field).collect();
            types.push((name, Type { name, atomic: marks.contains(&"atomic"), fields }));
        } else {
            let (_, current) = types.last_mut().expect("fields stand below their type");
            current.fields.extend(line.split(';').map(|text| parse_field(text.trim())));
        }
    }
    types
}

fn parse_field(text: &'static str) -> Field {
    let (text, effect) = split_effect(text);
    let mut words = text.split_whitespace();
    let name = words.next().expect("a field has a name");
    let (pointer, shape) = parse_shape(words.next().expect("a field has a type"));
    let mut field =
        Field { name, shape, pointer, always: false, default: None, rules: Vec::new(), effect: Effect::Works };
    while let Some(word) = words.next() {
        apply_word(&mut field, word, &mut words);
    }
    field.effect = effect;
    field
}

fn apply_word(field: &mut Field, word: &str, words: &mut std::str::SplitWhitespace<'static>) {
    let mut argument = || words.next().expect("the word takes an argument");
    match (word, &mut field.shape) {
        ("by", Shape::List { identity, .. }) => *identity = Identity::Keys(argument().split(',').collect()),
        ("set", Shape::List { identity, .. }) => *identity = Identity::Set,
        ("atomic", Shape::Map { atomic, .. }) => *atomic = true,
        ("always", _) => field.always = true,
        ("=", _) => field.default = Some(serde_json::from_str(argument()).expect("a default is JSON")),
        ("required", _) => field.rules.push(Rule::Required),
        ("min", _) => field.rules.push(Rule::Min(argument().parse().expect("a number"))),
        ("port", _) => field.rules.push(Rule::Port),
        ("portname", _) => field.rules.push(Rule::PortName),
        ("amount", _) => field.rules.push(Rule::Amount),
        ("share", _) => field.rules.push(Rule::Share),
        ("one", _) => {
            assert_eq!(argument(), "of", "one of A|B");
            field.rules.push(Rule::OneOf(argument().split('|').collect()));
        }
        ("is", _) => field.rules.push(Rule::Is(argument())),
        ("unique", _) => field.rules.push(Rule::Unique(argument())),
        ("labels", _) => field.rules.push(Rule::Labels),
        ("annotations", _) => field.rules.push(Rule::Annotations),
        _ => panic!("{}: unknown word {word}", field.name),
    }
}

fn parse_shape(text: &'static str) -> (bool, Shape) {
    if let Some(inner) = text.strip_prefix('*') {
        return (true, parse_shape(inner).1);
    }
    if let Some(inner) = text.strip_prefix("[]") {
        return (false, Shape::List { item: Box::new(parse_shape(inner).1), identity: Identity::Atomic });
    }
    if let Some(inner) = text.strip_prefix("map[").and_then(|inner| inner.strip_suffix(']')) {
        return (false, Shape::Map { value: scalar(inner).expect("maps hold scalars"), atomic: false });
    }
    let shape = match text {
        "any" => Shape::Any,
        name => scalar(name).map_or(Shape::Object(name), Shape::Scalar),
    };
    (matches!(shape, Shape::Any), shape)
}

fn scalar(name: &str) -> Option<Scalar> {
    Some(match name {
        "string" => Scalar::String,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "bool" => Scalar::Bool,
        "quantity" => Scalar::Quantity,
        "intstr" => Scalar::IntOrString,
        "time" => Scalar::Time,
        "bytes" => Scalar::Bytes,
        _ => return None,
    })
}

fn split_effect(text: &'static str) -> (&'static str, Effect) {
    let Some(at) = text.find(" ~").or_else(|| text.find(" !")) else {
        return (text, Effect::Works);
    };
    let (field, effect) = (&text[..at], &text[at + 1..]);
    let (values, because) = match effect[1..].strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((names, because)) => match names.strip_prefix('!') {
            Some(other) => (Values::Except(other), because.trim()),
            None => (Values::These(names.split(',').collect()), because.trim()),
        },
        None => (Values::All, effect[1..].trim()),
    };
    let effect =
        if effect.starts_with('~') { Effect::None { values, because } } else { Effect::Refused { values, because } };
    (field, effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_type_exists_and_every_kind_has_one() {
        for kind in crate::kinds::ALL {
            assert!(of_kind(kind).field("metadata").is_some(), "{}", kind.kind);
        }
        let mut looked_up = 0;
        for field in TABLE.values().flat_map(|one| &one.fields) {
            let mut shape = &field.shape;
            while let Shape::List { item, .. } = shape {
                shape = item;
            }
            if let Shape::Object(name) = shape {
                looked_up += 1;
                assert!(!of(name).fields.is_empty(), "{name}");
            }
        }
        assert!(looked_up > 50);
    }

    #[test]
    fn no_type_stands_twice_and_no_field_twice_in_a_type() {
        let types: usize = SOURCES.iter().map(|source| source.lines().filter(|l| l.starts_with("type ")).count()).sum();
        assert_eq!(types, TABLE.len());
        for one in TABLE.values() {
            let names: std::collections::BTreeSet<_> = one.fields.iter().map(|field| field.name).collect();
            assert_eq!(names.len(), one.fields.len(), "{}", one.name);
        }
    }

    #[test]
    fn list_keys_name_fields_of_their_items() {
        for field in TABLE.values().flat_map(|one| &one.fields) {
            if let Shape::List { item, identity: Identity::Keys(keys) } = &field.shape {
                let Shape::Object(name) = **item else { panic!("{} lists no objects", field.name) };
                assert!(keys.iter().all(|key| of(name).field(key).is_some()), "{}", field.name);
            }
        }
    }
}
