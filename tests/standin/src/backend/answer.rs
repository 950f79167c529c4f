//! Answers one question: read the manual, ask the model, say where it comes from.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tokio::sync::mpsc;

use super::app::App;
use super::catalog::{Catalog, Product};
use super::flaw::Flaw;
use super::gemini::{LlmError, Prompt};
use super::metrics::seconds;
use super::protocol::{Query, ServerMessage, UseCase};

/// Most of a manual that a prompt carries, in characters.
const MANUAL_CHARACTERS_MAX: usize = 20_000;
/// Most related products of a context.
const RELATED_MAX: usize = 5;

/// Sends every message of the answer; returns when the last one is in the outbox.
pub(crate) async fn answer(app: Arc<App>, client: String, query: Query, outbox: mpsc::Sender<ServerMessage>) {
    let reply = Reply { app: &app, client: &client, query: &query, outbox: &outbox };
    let catalog = app.catalog();
    if let Some((product, _)) = catalog.product(&query.product_id) {
        let started = Instant::now();
        reply.to_query(&catalog, product).await;
        app.metrics.answer_generation.observe(seconds(started.elapsed()));
    } else {
        app.metrics.websocket_errors.with_label_values(&["unknown_product"]).inc();
        let message = format!("unknown product `{}`", query.product_id);
        reply.say(ServerMessage::Error { message }).await;
    }
}

struct Reply<'a> {
    app: &'a App,
    client: &'a str,
    query: &'a Query,
    outbox: &'a mpsc::Sender<ServerMessage>,
}

impl Reply<'_> {
    async fn to_query(&self, catalog: &Catalog, product: &Product) {
        self.say(ServerMessage::Status { msg: "Reading Official Manual..." }).await;
        let manual = self.app.manuals.words(&product.documentation.url).await;
        self.say(ServerMessage::Status { msg: "Thinking..." }).await;
        match manual {
            Ok(manual) => self.to_readable(catalog, product, &manual).await,
            Err(error) => {
                let name = &product.name;
                self.chunk(format!("The official manual of the {name} could not be read: {error}.")).await;
            }
        }
        if let Some(context) = context(catalog, product, self.query.scenario) {
            self.say(ServerMessage::Context { data: context }).await;
        }
        self.say(ServerMessage::FinalAnswer { content: String::new() }).await;
    }

    async fn to_readable(&self, catalog: &Catalog, product: &Product, manual: &str) {
        let remembered = self.remembered(product);
        if let Some(key) = &remembered
            && let Some(failure) = self.app.cache.get(key).await
        {
            return self.chunk(failure).await;
        }
        let started = Instant::now();
        let prompt = prompt(catalog, product, manual, self.query);
        let mut chunks = 0_u32;
        let result = self.relay(&prompt, &mut chunks).await;
        let milliseconds = started.elapsed().as_millis() as u64;
        let context = [
            ("client_id", self.client.into()),
            ("product_id", product.id.as_str().into()),
            ("milliseconds", milliseconds.into()),
        ];
        match result {
            Ok(()) => self.app.log.info("llm", "llm_request done", &context),
            Err(error) => {
                self.app.metrics.llm_errors.with_label_values(&[error.error_type()]).inc();
                let status = error.status().map(|status| ("status", status.as_u16().into()));
                let details = [("error_type", error.error_type().into()), ("error", error.to_string().into())];
                let details: Vec<_> = context.into_iter().chain(details).chain(status).collect();
                self.app.log.error("llm", "llm_request: LLM error", &details);
                let apology = if chunks == 0 {
                    "No answer could be generated. Please try again later."
                } else {
                    " […] The answer broke off here: the rest of it could not be generated."
                };
                if let Some(key) = &remembered {
                    self.app.cache.put(key, apology).await;
                }
                self.chunk(apology.to_owned()).await;
            }
        }
    }

    /// Where the flaw `caches-failures` keeps what went wrong. It means to spare a provider that
    /// is in trouble, and forgets that everybody after it is told the same for an hour.
    fn remembered(&self, product: &Product) -> Option<String> {
        let flawed = self.app.flaw == Some(Flaw::CachesFailures);
        flawed.then(|| format!("answer:{}:{}", product.id, self.query.question))
    }

    /// Passes the model's words on as they come.
    async fn relay(&self, prompt: &Prompt, chunks: &mut u32) -> Result<(), LlmError> {
        let mut answering = self.app.gemini.ask(prompt).await?;
        while let Some(text) = self.app.gemini.next(&mut answering).await? {
            *chunks += 1;
            self.chunk(text).await;
        }
        if *chunks == 0 {
            return Err(LlmError::Garbage("it has no text".to_owned()));
        }
        Ok(())
    }

    async fn chunk(&self, content: String) {
        self.say(ServerMessage::AnswerChunk { content }).await;
    }

    async fn say(&self, message: ServerMessage) {
        // The receiver lives as long as the session that polls this answer.
        let _ = self.outbox.send(message).await;
    }
}

fn prompt(catalog: &Catalog, product: &Product, manual: &str, query: &Query) -> Prompt {
    let brand = catalog.product(&product.id).map_or("", |(_, brand)| brand.identity.name.as_str());
    let manual: String = manual.chars().take(MANUAL_CHARACTERS_MAX).collect();
    let scenario = query.scenario.label();
    let name = &product.name;
    Prompt {
        system: format!(
            "You answer questions about the {brand} {name} from its official manual alone. \
             The use is: {scenario}. The manual:\n{manual}"
        ),
        question: query.question.clone(),
    }
}

/// Where the answer comes from, and what else there is.
fn context(catalog: &Catalog, product: &Product, scenario: UseCase) -> Option<serde_json::Value> {
    let (_, brand) = catalog.product(&product.id)?;
    let mut related: Vec<&Product> = brand.products.iter().filter(|other| other.id != product.id).collect();
    // Of the same sort first; the sort is stable, so the catalog's order decides among equals.
    related.sort_by_key(|other| other.category != product.category);
    related.truncate(RELATED_MAX);
    Some(json!({"brand": brand.identity, "related_items": related, "scenario": scenario}))
}
