//! The makers' web sites: one manual for every product that is asked for.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::Shared;
use super::control::ManualsMode;
use super::trickle;

/// Sizes of the pieces a manual comes in.
const PIECE_BYTES: usize = 256;

/// `GET /manuals/{brand}/{product}.html` or `.pdf`.
pub(super) async fn document(
    State(shared): State<Shared>,
    Path((brand, document)): Path<(String, String)>,
) -> Response {
    let (mode, slow, retry_after) =
        shared.with(|control| (control.manuals, control.slow(), control.retry_after_seconds));
    shared.with(|control| control.count_manual(mode.label()));
    let Some((content_type, bytes)) = manual(&brand, &document) else {
        return (StatusCode::NOT_FOUND, "no such document\n").into_response();
    };
    let send = |body: Body| ([(header::CONTENT_TYPE, content_type)], body).into_response();
    let pieces = bytes.chunks(PIECE_BYTES).map(Bytes::copy_from_slice).collect();
    match mode {
        ManualsMode::Ok => send(trickle::pieces(pieces, Duration::ZERO)),
        ManualsMode::Slow => send(trickle::pieces(pieces, slow)),
        ManualsMode::Cut => send(trickle::cut(pieces)),
        ManualsMode::Garbage => send(Body::from(vec![0xfe_u8; PIECE_BYTES])),
        ManualsMode::Hang => std::future::pending().await,
        ManualsMode::Missing => (StatusCode::NOT_FOUND, "no such document\n").into_response(),
        ManualsMode::Forbidden => (StatusCode::FORBIDDEN, "forbidden\n").into_response(),
        ManualsMode::Error => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response(),
        ManualsMode::Quota => {
            let mut response = (StatusCode::TOO_MANY_REQUESTS, "too many requests\n").into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
            response
        }
    }
}

/// Content type and bytes; `None` for what is neither HTML nor PDF.
fn manual(brand: &str, document: &str) -> Option<(&'static str, Vec<u8>)> {
    let (product, extension) = document.rsplit_once('.')?;
    // Names become part of a page: whatever else was asked for stays out of it.
    let name = |text: &str| -> String {
        text.chars().filter(|character| character.is_alphanumeric() || *character == '-').collect()
    };
    let lines = [
        format!("Owner's manual of the {} by {}.", name(product), name(brand)),
        "Power: hold the power button for two seconds to switch the instrument on.".to_owned(),
        "Display: turn the encoder to choose a page, press it to enter the page.".to_owned(),
        "Factory reset: hold the two leftmost buttons while you switch the instrument on.".to_owned(),
        "Connections: use balanced cables in the studio, and set the output to line level on stage.".to_owned(),
    ];
    match extension {
        "html" => Some(("text/html; charset=utf-8", html(&lines).into_bytes())),
        "pdf" => Some(("application/pdf", pdf(&lines))),
        _ => None,
    }
}

fn html(lines: &[String]) -> String {
    let paragraphs: String = lines.iter().map(|line| format!("<p>{line}</p>\n")).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<title>Owner's manual</title>\n<body>\n{paragraphs}</body>\n</html>\n"
    )
}

/// A PDF of one page, with an uncompressed content stream and a true cross-reference table.
fn pdf(lines: &[String]) -> Vec<u8> {
    let shown: String = lines
        .iter()
        .map(|line| line.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)"))
        .map(|line| format!("({line}) Tj T*\n"))
        .collect();
    let content = format!("BT\n/F1 11 Tf 16 TL 50 780 Td\n{shown}ET\n");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}endstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (index, object) in objects.iter().enumerate() {
        table.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
    }
    let start = file.len();
    let trailer = format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", objects.len() + 1);
    format!("{file}{table}{trailer}").into_bytes()
}
