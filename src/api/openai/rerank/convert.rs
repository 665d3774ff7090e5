use serde_json::Value;

use super::types::{Document, Ranked, RerankRequest, ScoreRequest, Texts, WireText};
use crate::api::openai::convert::model_name;
use crate::domain::{EmbedInput, Error, ErrorKind, Result};
use crate::service::MAX_INPUTS;

/// What `rerank` was asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Rerank {
    pub(super) model: String,
    pub(super) query: String,
    pub(super) documents: Vec<String>,
    /// Only so many of the best.
    pub(super) top: usize,
    pub(super) return_documents: bool,
}

/// Maps, refuses or ignores every field of `rerank`.
pub(super) fn rerank(request: RerankRequest) -> Result<Rerank> {
    let RerankRequest {
        model,
        query,
        documents,
        top_n,
        return_documents,
        max_tokens_per_doc,
        max_chunks_per_doc,
        truncate_prompt_tokens,
        rank_fields,
        // There is one queue, and it is fair.
        priority: _,
        // Names an account on a provider's side.
        user: _,
    } = request;
    let model = model_name(model)?;
    let query = query.map(WireText::into_text).ok_or_else(|| missing("query", "a text"))?;
    let documents = documents.ok_or_else(|| missing("documents", "an array of texts"))?;
    no_cutting("max_tokens_per_doc", max_tokens_per_doc.as_ref())?;
    no_cutting("max_chunks_per_doc", max_chunks_per_doc.as_ref())?;
    no_cutting("truncate_prompt_tokens", truncate_prompt_tokens.as_ref())?;
    if rank_fields.is_some_and(|fields| !fields.is_null()) {
        let message = "`rank_fields` is not done; send the documents as texts";
        return Err(Error::unsupported("rank_fields", message));
    }
    if query.is_empty() {
        return Err(Error::invalid("query", "`query` is empty: say what is looked for"));
    }
    let count = documents.len();
    if count == 0 || count > MAX_INPUTS {
        let message = format!("there are {count} documents: send 1 to {MAX_INPUTS} at once");
        return Err(Error::invalid("documents", message));
    }
    let top = match top_n.map(usize::try_from) {
        None => count,
        Some(Ok(top)) if top > 0 => top.min(count),
        Some(_) => return Err(Error::invalid("top_n", "`top_n` must be at least 1")),
    };
    Ok(Rerank {
        model,
        query,
        documents: documents.into_iter().map(WireText::into_text).collect(),
        top,
        return_documents: return_documents == Some(true),
    })
}

/// Maps, refuses or ignores every field of `score`; answers the model and the pairs.
pub(super) fn score(request: ScoreRequest) -> Result<(String, Vec<EmbedInput>)> {
    let ScoreRequest { model, text_1, text_2, truncate_prompt_tokens, priority: _, user: _ } =
        request;
    let model = model_name(model)?;
    no_cutting("truncate_prompt_tokens", truncate_prompt_tokens.as_ref())?;
    let text_1 = text_1.ok_or_else(|| missing("text_1", "a text or several"))?;
    let text_2 = text_2.ok_or_else(|| missing("text_2", "a text or several"))?;
    let list = |texts| match texts {
        Texts::One(text) => vec![text],
        Texts::Many(texts) => texts,
    };
    let (queries, documents) = (list(text_1), list(text_2));
    let (ones, twos) = (queries.len(), documents.len());
    if ones == 0 || twos == 0 || twos > MAX_INPUTS || (ones != 1 && ones != twos) {
        let message = format!(
            "`text_1` has {ones} texts and `text_2` has {twos}: send one and 1 to {MAX_INPUTS}, or \
             as many of both"
        );
        return Err(Error::invalid("text_2", message));
    }
    let queries = queries.into_iter().cycle();
    let pair = |(query, document)| EmbedInput::Pair { query, document };
    Ok((model, queries.zip(documents).map(pair).collect()))
}

/// The pairs of a query.
pub(super) fn pairs(query: &str, documents: &[String]) -> Vec<EmbedInput> {
    let pair = |document: &String| EmbedInput::Pair {
        query: query.to_owned(),
        document: document.clone(),
    };
    documents.iter().map(pair).collect()
}

/// The best documents, the best first; of equals the earlier first.
pub(super) fn ranked(
    logits: &[f32],
    documents: Vec<String>,
    top: usize,
    show: bool,
) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = documents
        .into_iter()
        .zip(logits)
        .enumerate()
        .map(|(index, (text, logit))| Ranked {
            index,
            relevance_score: probability(*logit),
            document: show.then_some(Document { text }),
        })
        .collect();
    // By the logits: two that differ may be the same once they are close to 1.
    let logit = |ranked: &Ranked| logits.get(ranked.index).copied().unwrap_or(f32::MIN);
    ranked.sort_by(|a, b| logit(b).total_cmp(&logit(a)));
    ranked.truncate(top);
    ranked
}

/// The logistic function.
pub(super) fn probability(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

/// Nothing is cut silently, and so nothing is cut on demand either.
fn no_cutting(field: &'static str, value: Option<&Value>) -> Result<()> {
    match value {
        None | Some(Value::Null) => Ok(()),
        Some(_) => {
            let message = format!("`{field}` is not done; send documents that fit, or parts");
            Err(Error::unsupported(field, message))
        }
    }
}

fn missing(field: &'static str, what: &str) -> Error {
    let message = format!("`{field}` is missing: send {what}");
    Error::new(ErrorKind::MissingField, message).with_param(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param<T: std::fmt::Debug>(result: Result<T>) -> Option<String> {
        result.expect_err("refused").param
    }

    fn read(json: &str) -> Result<Rerank> {
        rerank(crate::api::json::decode(json.as_bytes())?)
    }

    fn read_score(json: &str) -> Result<Vec<EmbedInput>> {
        Ok(score(crate::api::json::decode(json.as_bytes())?)?.1)
    }

    #[test]
    fn documents_are_texts_or_objects_with_a_text() {
        let asked = read(
            r#"{"model":"m","query":"q","documents":["a",{"text":"b","x":1}],"top_n":9,
                "return_documents":true,"user":"me","rank_fields":null}"#,
        );
        let asked = asked.expect("a request");
        assert_eq!(asked.documents, ["a", "b"]);
        assert_eq!((asked.top, asked.return_documents), (2, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (fields, wrong) in [
            (r#""documents":["a"]"#, "query"),
            (r#""query":"","documents":["a"]"#, "query"),
            (r#""query":"q""#, "documents"),
            (r#""query":"q","documents":[]"#, "documents"),
            (r#""query":"q","documents":[7]"#, "documents[0]"),
            (r#""query":"q","documents":["a"],"top_n":0"#, "top_n"),
            (r#""query":"q","documents":["a"],"max_tokens_per_doc":5"#, "max_tokens_per_doc"),
        ] {
            let body = format!(r#"{{"model":"m",{fields}}}"#);
            assert_eq!(param(read(&body)).as_deref(), Some(wrong), "{fields}");
        }
    }

    #[test]
    fn scores_are_sorted_by_logits_even_where_probabilities_are_the_same() {
        let documents = || vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let all = ranked(&[-1.0, 60.0, 80.0], documents(), 3, false);
        assert_eq!(all.iter().map(|ranked| ranked.index).collect::<Vec<_>>(), [2, 1, 0]);
        assert!(all[2].relevance_score > 0.26 && all[2].relevance_score < 0.27);
        assert!(all.iter().all(|ranked| (0.0..=1.0).contains(&ranked.relevance_score)));
        let best = ranked(&[0.0, 0.0, 0.0], documents(), 1, true);
        assert_eq!(best.len(), 1);
        assert_eq!(best[0].document, Some(Document { text: "a".to_owned() }));
    }

    #[test]
    fn one_text_is_scored_against_several_or_each_against_its_own() {
        let score = |one: &str, two: &str| {
            read_score(&format!(r#"{{"model":"m","text_1":{one},"text_2":{two}}}"#))
        };
        let pair = |query: &str, document: &str| EmbedInput::Pair {
            query: query.to_owned(),
            document: document.to_owned(),
        };
        assert_eq!(score(r#""q""#, r#""d""#), Ok(vec![pair("q", "d")]));
        assert_eq!(score(r#""q""#, r#"["d","e"]"#), Ok(vec![pair("q", "d"), pair("q", "e")]));
        let each = Ok(vec![pair("q", "d"), pair("r", "e")]);
        assert_eq!(score(r#"["q","r"]"#, r#"["d","e"]"#), each);
        for (one, two) in [(r#"["q","r"]"#, r#"["d"]"#), ("[]", r#""d""#), (r#""q""#, "[]")] {
            assert_eq!(param(score(one, two)).as_deref(), Some("text_2"));
        }
    }
}
