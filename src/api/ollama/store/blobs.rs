use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use http::{StatusCode, header};

use crate::api::body;
use crate::api::pipe;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Digest, Error, ErrorKind, Result};

/// `HEAD /api/blobs/{digest}`: whether the store has this file.
pub(in crate::api) async fn has_blob(
    State(state): State<ApiState>,
    Path(digest): Path<String>,
) -> Reply {
    let digest = parse(&digest)?;
    if state.service.has_blob(digest).await? {
        return Ok(StatusCode::OK.into_response());
    }
    let message = format!("blob {digest} not found");
    Err(Error::new(ErrorKind::NotFound, message).with_param("digest").into())
}

/// `POST /api/blobs/{digest}`: takes in a file of any size as it comes.
pub(in crate::api) async fn upload_blob(
    State(state): State<ApiState>,
    Path(digest): Path<String>,
    request: Request,
) -> Reply {
    let digest = parse(&digest)?;
    let (parts, body) = request.into_parts();
    body::refuse_encoded(&parts.headers)?;
    if state.service.has_blob(digest).await? {
        // What is there needs no second copy; the rest of this one is read and forgotten.
        body::linger(async move {
            let mut body = body;
            while let Ok(Some(_)) = body::next_piece(&mut body).await {}
        });
        return Ok(StatusCode::OK.into_response());
    }
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let size = length.and_then(|text| text.parse().ok());
    let service = state.service.clone();
    let upload = |bytes| async move { service.upload_blob(digest, size, Box::new(bytes)).await };
    pipe::feed(body, upload).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// `sha256:` or, as file names have it, `sha256-`.
///
/// # Errors
/// `InvalidDigest`.
pub(super) fn parse(text: &str) -> Result<Digest> {
    let plain = text.replacen("sha256-", "sha256:", 1);
    plain.parse().map_err(|fault| {
        let shown: String = text.chars().take(80).collect();
        let message = format!("invalid digest format: {shown:?}: {fault}");
        Error::new(ErrorKind::InvalidDigest, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_are_read() {
        let digest = Digest::of(b"x");
        assert_eq!(parse(&digest.to_string()), Ok(digest));
        assert_eq!(parse(&format!("sha256-{}", digest.hex())), Ok(digest));
        for bad in ["", "sha256:", "sha256-../../x", &digest.hex(), "sha512:00"] {
            assert_eq!(parse(bad).map_err(|e| e.kind), Err(ErrorKind::InvalidDigest), "{bad}");
        }
    }
}
