use std::collections::BTreeMap;

use utoipa::openapi::path::{
    HttpMethod, Operation as Documented, OperationBuilder, Parameter as Told, ParameterBuilder,
    ParameterIn, PathItem,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AnyOfBuilder, Components};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Content, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathsBuilder,
    Ref, RefOr, Required, ResponseBuilder, Schema, Server,
};

use crate::api::describe::{self, Dialect, Operation, Parameter, Schemas, header, text};
use crate::api::{ACTIONS, ROUTES, Route, anthropic, native, ollama, openai, responses};

use super::{errors, notes};

/// What two dialects share.
const MODELS: Dialect = Dialect {
    tag: "Models",
    description: "The model list of OpenAI, or Anthropic's with the header `anthropic-version`",
    errors: &[openai::ERROR, anthropic::ERROR],
    operations: &[
        Operation {
            method: "GET",
            paths: &["/v1/models"],
            parameters: &[VERSION],
            request: None,
            answers: &[(200, &[openai::MODELS, anthropic::MODELS])],
        },
        Operation {
            method: "GET",
            paths: &["/v1/models/{*model}"],
            parameters: &[VERSION],
            request: None,
            answers: &[(200, &[openai::MODEL, anthropic::MODEL])],
        },
    ],
};

const VERSION: Parameter =
    header("anthropic-version", text, "with any value, the answer has Anthropic's form");

const DIALECTS: &[&Dialect] = &[
    &openai::DIALECT,
    &responses::DIALECT,
    &MODELS,
    &anthropic::DIALECT,
    &ollama::DIALECT,
    &ollama::STORE_DIALECT,
    &native::DIALECT,
];

const DESCRIPTION: &str = "Every path works with and without the prefix `/exp/vDD<major>.<minor>`, \
    and every path under `/v1` also under `/engines/v1` and `/engines/llama.cpp/v1`. On TCP, only \
    programs of the daemon's own user may manage models; everybody may use and list them. A field that is null counts as left out, and unknown \
    fields are ignored.";

/// The whole document.
pub(super) fn document() -> OpenApi {
    let mut schemas = Schemas::new();
    let mut components = Components::new();
    for dialect in DIALECTS {
        for status in errors::statuses() {
            let response = errors::response(dialect, status, &mut schemas);
            components.responses.insert(errors::name(dialect, status), response.into());
        }
    }
    let mut paths: BTreeMap<String, PathItem> = BTreeMap::new();
    for route in ROUTES.iter().chain(ACTIONS) {
        let described = described(route);
        let operation = operation(route, described, &mut schemas);
        let item = PathItem::new(method(route.method), operation);
        paths.entry(template(route)).or_default().merge_operations(item);
    }
    let paths =
        paths.into_iter().fold(PathsBuilder::new(), |all, (path, item)| all.path(path, item));
    notes::annotate(&mut schemas);
    components.schemas.extend(schemas);
    let tags = DIALECTS.iter().map(|dialect| {
        TagBuilder::new().name(dialect.tag).description(Some(dialect.description)).build()
    });
    OpenApiBuilder::new()
        .info(info())
        .servers(Some([Server::new("/"), Server::new("/exp/vDD4.40")]))
        .paths(paths)
        .components(Some(components))
        .tags(Some(tags))
        .build()
}

fn info() -> utoipa::openapi::Info {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0"));
    InfoBuilder::new()
        .title("modeld")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license.build()))
        .build()
}

/// Who describes a route, and how.
fn described(route: &Route) -> Option<(&'static Dialect, &'static Operation)> {
    let of_route = |operation: &&Operation| {
        operation.method == route.method && operation.paths.contains(&route.path)
    };
    DIALECTS.iter().find_map(|dialect| Some((*dialect, dialect.operations.iter().find(of_route)?)))
}

/// The path as OpenAPI spells it.
fn template(route: &Route) -> String {
    match (route.method, route.path) {
        // The last segment is the action, of which there is one.
        ("POST", "/models/{*model}") => "/models/{model}/tag".to_owned(),
        (_, path) => path.replace("{*", "{"),
    }
}

fn method(name: &str) -> HttpMethod {
    match name {
        "GET" => HttpMethod::Get,
        "DELETE" => HttpMethod::Delete,
        "HEAD" => HttpMethod::Head,
        "PUT" => HttpMethod::Put,
        _ => HttpMethod::Post,
    }
}

fn operation(
    route: &Route,
    described: Option<(&Dialect, &Operation)>,
    schemas: &mut Schemas,
) -> Documented {
    let path = template(route);
    let mut operation = OperationBuilder::new()
        .operation_id(Some(id(route.method, &path)))
        .summary(Some(route.what))
        .description(route.for_owner.then_some("For the owner: on the Unix socket, and for programs of the same user on TCP; else 403."));
    for name in parameters_of(&path) {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(text(schemas))),
        );
    }
    // A test sees to it that there is always one.
    let Some((dialect, described)) = described else { return operation.build() };
    operation = operation.tag(dialect.tag);
    for parameter in described.parameters {
        operation = operation.parameter(told(parameter, schemas));
    }
    if let Some(request) = described.request {
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for (kind, content) in content(&[request], schemas) {
            body = body.content(kind, content);
        }
        operation = operation.request_body(Some(body.build()));
    }
    for (status, bodies) in described.answers {
        let mut answer = ResponseBuilder::new().description(route.what);
        for (kind, content) in content(bodies, schemas) {
            answer = answer.content(kind, content);
        }
        operation = operation.response(status.to_string(), answer);
    }
    for status in errors::statuses() {
        if errors::concerns(status, route.method) {
            let name = errors::name(dialect, status);
            operation = operation.response(status.to_string(), Ref::from_response_name(name));
        }
    }
    operation.build()
}

fn told(parameter: &Parameter, schemas: &mut Schemas) -> Told {
    let Parameter { name, header, required, shape, what } = parameter;
    ParameterBuilder::new()
        .name(*name)
        .parameter_in(if *header { ParameterIn::Header } else { ParameterIn::Query })
        .required(if *required { Required::True } else { Required::False })
        .description(Some(*what))
        .schema(Some(shape(schemas)))
        .build()
}

/// Bodies by their content type.
pub(super) fn content(
    bodies: &[describe::Content],
    schemas: &mut Schemas,
) -> BTreeMap<&'static str, Content> {
    let mut by_type: BTreeMap<&'static str, Vec<RefOr<Schema>>> = BTreeMap::new();
    for (kind, shape) in bodies {
        by_type.entry(*kind).or_default().push(shape(schemas));
    }
    let either = |mut shapes: Vec<RefOr<Schema>>| match (shapes.pop(), shapes.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            let all = shapes.into_iter().chain(last);
            all.fold(AnyOfBuilder::new(), AnyOfBuilder::item).into()
        }
    };
    by_type
        .into_iter()
        .map(|(kind, shapes)| (kind, ContentBuilder::new().schema(Some(either(shapes))).build()))
        .collect()
}

/// The names between the braces of a template.
fn parameters_of(template: &str) -> impl Iterator<Item = &str> {
    template.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// `post_v1_chat_completions`.
fn id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_ascii_lowercase(), |id, word| format!("{id}_{word}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn json() -> Value {
        serde_json::to_value(document()).expect("a document")
    }

    /// Every object of the document that has this key, with its value.
    fn walk<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get(key));
                map.values().for_each(|value| walk(value, key, found));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, key, found)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_described_once_and_nothing_else() {
        let all = ROUTES.iter().chain(ACTIONS);
        let routes: Vec<_> = all.map(|route| (route.method, route.path)).collect();
        let described: Vec<_> = DIALECTS
            .iter()
            .flat_map(|dialect| dialect.operations)
            .flat_map(|operation| operation.paths.iter().map(|path| (operation.method, *path)))
            .collect();
        assert_eq!(
            described.iter().collect::<BTreeSet<_>>(),
            routes.iter().collect::<BTreeSet<_>>()
        );
        assert_eq!(described.len(), routes.len(), "a route is described twice");
    }

    #[test]
    fn every_route_has_one_operation_of_its_own_id() {
        let document = json();
        let paths = document["paths"].as_object().expect("paths");
        let mut operations = BTreeSet::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().expect("an item") {
                assert!(operation["responses"]["405"].is_object(), "{method} {path}");
                let id = operation["operationId"].as_str().expect("an id");
                assert!(operations.insert(id.to_owned()), "{id} twice");
            }
        }
        assert_eq!(operations.len(), ROUTES.len() + ACTIONS.len());
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = json();
        let mut references = Vec::new();
        walk(&document, "$ref", &mut references);
        let referred: BTreeSet<&str> = references.iter().filter_map(|r| r.as_str()).collect();
        for reference in &referred {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
            let reference = format!("#/components/schemas/{name}");
            assert!(referred.contains(reference.as_str()), "{name} is used nowhere");
            let (dialect, _) = name.split_once('.').expect("a dialect in front");
            let dialects = ["openai", "responses", "anthropic", "ollama", "native"];
            assert!(dialects.contains(&dialect), "{name}");
        }
    }

    #[test]
    fn what_has_to_be_sent_is_required() {
        let document = json();
        let schemas = &document["components"]["schemas"];
        for (name, fields) in [
            ("openai.ChatRequest", vec!["model", "messages"]),
            ("openai.TextRequest", vec!["model", "prompt"]),
            ("openai.EmbeddingsRequest", vec!["model", "input"]),
            ("responses.CreateRequest", vec!["model"]),
            ("anthropic.MessagesRequest", vec!["model", "messages"]),
        ] {
            assert_eq!(schemas[name]["required"], serde_json::json!(fields), "{name}");
        }
    }
}
