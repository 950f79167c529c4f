//! Brands and their products, from one JSON file a brand.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest list of predictions.
const MATCHES_MAX: usize = 5;

/// One brand, as its file has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Brand {
    #[serde(rename = "brand_identity")]
    pub(crate) identity: Identity,
    pub(crate) products: Vec<Product>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) hq: String,
    pub(crate) website: String,
    pub(crate) logo_url: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Id of the brand.
    pub(crate) brand: String,
    pub(crate) category: String,
    pub(crate) production_country: String,
    /// In US dollars; absent for what is not sold any more.
    pub(crate) price: Option<f64>,
    pub(crate) documentation: Documentation,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Documentation {
    /// `html` or `pdf`: what the maker says; the reader looks at the bytes.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) url: String,
}

/// All brands, in the order of their files' names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Catalog {
    pub(crate) brands: Vec<Brand>,
    /// The same for the same files: results cached for another catalog are not found.
    pub(crate) fingerprint: u64,
}

/// A product that fits what was typed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Match<'a> {
    pub(crate) product: &'a Product,
    pub(crate) brand: &'a Identity,
    /// One line about the product.
    pub(crate) context: String,
    /// From 0 to 1.
    pub(crate) confidence: f64,
    /// The part of the product that fitted.
    pub(crate) match_text: &'a str,
}

impl Catalog {
    /// Reads every `*.json` of the directory.
    ///
    /// # Errors
    /// A sentence that names the file, for the first one that cannot be read or understood,
    /// and for a product that claims another brand than its file's.
    pub(crate) fn load(directory: &Path) -> Result<Self, String> {
        let mut files: Vec<PathBuf> = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(|error| format!("read the catalog directory {}: {error}", directory.display()))?;
        // A mounted ConfigMap has directories beside its files, whose names begin with two dots.
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        let texts = files
            .into_iter()
            .map(|file| match fs::read_to_string(&file) {
                Ok(text) => Ok((file.display().to_string(), text)),
                Err(error) => Err(format!("read {}: {error}", file.display())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::parse(&texts)
    }

    fn parse(files: &[(String, String)]) -> Result<Self, String> {
        let mut hasher = DefaultHasher::new();
        let mut brands = Vec::new();
        for (file, text) in files {
            text.hash(&mut hasher);
            let brand: Brand = serde_json::from_str(text).map_err(|error| format!("read {file}: {error}"))?;
            if let Some(product) = brand.products.iter().find(|product| product.brand != brand.identity.id) {
                let (id, stated, brand) = (&product.id, &product.brand, &brand.identity.id);
                return Err(format!("read {file}: product `{id}` names brand `{stated}`, the file is brand `{brand}`"));
            }
            brands.push(brand);
        }
        Ok(Self { brands, fingerprint: hasher.finish() })
    }

    pub(crate) fn product_count(&self) -> usize {
        self.brands.iter().map(|brand| brand.products.len()).sum()
    }

    /// The product with this id, and its brand.
    pub(crate) fn product(&self, id: &str) -> Option<(&Product, &Brand)> {
        self.products().find(|(product, _)| product.id == id)
    }

    /// The products that fit best, best first.
    pub(crate) fn search(&self, typed: &str) -> Vec<Match<'_>> {
        let wanted = plain(typed);
        let mut matches: Vec<Match<'_>> = self
            .products()
            .filter_map(|(product, brand)| {
                let (confidence, match_text) = fit(&wanted, product, &brand.identity)?;
                let context = format!("{} {}, {}", brand.identity.name, product.name, product.category);
                Some(Match { product, brand: &brand.identity, context, confidence, match_text })
            })
            .collect();
        matches.sort_by(|one, other| other.confidence.total_cmp(&one.confidence));
        matches.truncate(MATCHES_MAX);
        matches
    }

    fn products(&self) -> impl Iterator<Item = (&Product, &Brand)> {
        self.brands.iter().flat_map(|brand| brand.products.iter().map(move |product| (product, brand)))
    }
}

/// How well the product fits, and by which of its texts.
fn fit<'a>(wanted: &str, product: &'a Product, brand: &'a Identity) -> Option<(f64, &'a str)> {
    let texts = [(&product.name, 1.0), (&product.id, 1.0), (&product.category, 0.6), (&brand.name, 0.6)];
    texts
        .into_iter()
        .filter_map(|(text, weight)| Some((similarity(wanted, &plain(text))? * weight, text.as_str())))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(confidence, text)| ((confidence * 1000.0).round() / 1000.0, text))
}

/// 1 for the same text; less for a beginning, still less for a part; `None` for neither.
fn similarity(wanted: &str, text: &str) -> Option<f64> {
    let at = text.find(wanted)?;
    if wanted.is_empty() {
        return None;
    }
    let share = wanted.len() as f64 / text.len() as f64;
    Some(if at == 0 { 0.7 + 0.3 * share } else { 0.5 + 0.3 * share })
}

/// Letters and digits only, in lower case: `TD-17` and `td17` are the same.
fn plain(text: &str) -> String {
    text.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shipped() -> Catalog {
        Catalog::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("catalog")).unwrap()
    }

    #[test]
    fn finds_what_is_typed() {
        let catalog = shipped();
        let rows: &[(&str, Option<&str>, f64)] = &[
            ("td-17", Some("roland-td-17"), 0.85),
            ("TD17KVX2", Some("roland-td-17"), 0.99),
            ("roland-td-17", Some("roland-td-17"), 1.0),
            ("minilogue", Some("korg-minilogue-xd"), 0.9),
            ("subsequent", Some("moog-subsequent-37"), 0.9),
            ("synthesizer", None, 0.5),
            ("no such thing", None, 2.0),
            ("", None, 2.0),
            ("-- !", None, 2.0),
        ];
        for (typed, expect, least) in rows {
            let best = catalog.search(typed).into_iter().next();
            if let Some(expect) = expect {
                assert_eq!(best.as_ref().map(|best| best.product.id.as_str()), Some(*expect), "typed {typed:?}");
            }
            let confidence = best.map_or(2.0, |best| best.confidence);
            assert!(confidence >= *least, "typed {typed:?}: {confidence}");
        }
    }

    #[test]
    fn refuses_files_by_name() {
        let identity = r#"{"id":"a","name":"A","hq":"","website":"","logo_url":""}"#;
        let stranger = format!(
            r#"{{"brand_identity":{identity},"products":[{{"id":"p","name":"P","brand":"b","category":"",
                "production_country":"","price":null,"documentation":{{"type":"pdf","url":""}}}}]}}"#
        );
        for (text, expect) in [
            ("{", "read x.json: EOF"),
            ("{}", "read x.json: missing field `brand_identity`"),
            (&stranger, "read x.json: product `p` names brand `b`, the file is brand `a`"),
        ] {
            let error = Catalog::parse(&[("x.json".to_owned(), text.to_owned())]).unwrap_err();
            assert!(error.starts_with(expect), "{error}");
        }
    }

    proptest! {
        #[test]
        fn search_is_bounded_and_sorted(typed in ".{0,40}") {
            let catalog = shipped();
            let matches = catalog.search(&typed);
            prop_assert!(matches.len() <= MATCHES_MAX);
            prop_assert!(matches.iter().all(|found| (0.0..=1.0).contains(&found.confidence)));
            prop_assert!(matches.windows(2).all(|pair| pair[0].confidence >= pair[1].confidence));
        }
    }
}
