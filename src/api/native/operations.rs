//! The routes, as the OpenAPI document shows them.

use utoipa::PartialSchema;
use utoipa::openapi::schema::{AdditionalProperties, Type};
use utoipa::openapi::{RefOr, Schema};

use crate::api::describe::{
    Content, Dialect, Operation, Parameter, Schemas, flag, integer, list_of, named, of, opaque,
    query, text,
};
use crate::api::reply::{EVENTS, JSON, TEXT};

use super::backends::Backend;
use super::configure::{Configure, WireConfigured};
use super::create::Create;
use super::disk::{Prune, PruneLine, WireUsage};
use super::error::Envelope;
use super::export::TAR;
use super::fsck::{Fsck, FsckLine};
use super::import::{Import, Line as ImportLine};
use super::lines::NDJSON;
use super::log_level::LogLevel;
use super::login::{LoggedIn, LoggedOut, LoginRequest, WireLogin};
use super::metrics::PROMETHEUS;
use super::progress::Line;
use super::reload::Reloaded;
use super::repackage::{Repackage, Repackaged};
use super::requests::Recorded;
use super::search::Found;
use super::status::Status;
use super::tcp::{TcpRequest, WireTcp};
use super::transfers::WireTransfer;
use super::types::{Loaded, Tagged, Unload, Unloaded, WireLoaded, WireModel, WireRemoval};
use super::utility::{Health, Version};

/// A parameter in the query that has to be there.
const fn required(name: &'static str, what: &'static str) -> Parameter {
    Parameter { required: true, ..query(name, text, what) }
}

/// What is got without sending anything.
const fn get(
    paths: &'static [&'static str],
    answers: &'static [(u16, &'static [Content])],
) -> Operation {
    Operation { method: "GET", paths, parameters: &[], request: None, answers }
}

/// All routes.
pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "Native",
    description: "The API of Docker Model Runner. Errors are one line of text, or JSON where \
                  `Accept` is exactly `application/json`",
    errors: &[(TEXT, text), (JSON, named::<Envelope<'static>>)],
    operations: &[
        get(&["/anthropic"], &[(200, &[(TEXT, text)])]),
        get(&["/"], &[(200, &[(TEXT, text)])]),
        get(&["/openapi.json"], &[(200, &[(JSON, anything)])]),
        get(&["/version"], &[(200, &[(JSON, named::<Version>)])]),
        get(&["/health"], &[(200, &[(JSON, named::<Health>)])]),
        get(&["/ready"], &[(200, &[(JSON, named::<Health>)])]),
        Operation {
            parameters: &[
                query("follow", flag, "go on with what is added, until the client leaves"),
                query("no-engines", flag, "leave out what the processes of models say"),
            ],
            ..get(&["/logs"], &[(200, &[(TEXT, text)])])
        },
        get(&["/metrics"], &[(200, &[(PROMETHEUS, text)])]),
        get(&["/models"], &[(200, &[(JSON, list_of::<WireModel<'_>>)])]),
        Operation {
            parameters: &[query("remote", flag, "ask its registry; for the owner")],
            ..get(&["/models/{*model}"], &[(200, &[(JSON, named::<WireModel<'_>>)])])
        },
        Operation {
            method: "DELETE",
            paths: &["/models/{*model}"],
            parameters: &[query("force", flag, "with all its names, ending its requests")],
            request: None,
            answers: &[(200, &[(JSON, list_of::<WireRemoval>)])],
        },
        Operation {
            method: "POST",
            paths: &["/models/{*model}"],
            // Both for `…/tag` alone; the body is for `…/push`, which may go without.
            parameters: &[
                query("repo", text, "for `…/tag`: the new name, without a tag"),
                query("tag", text, "for `…/tag`: its tag"),
            ],
            request: None,
            answers: &[
                (200, &[(TEXT, text), (JSON, named::<Line>)]),
                (201, &[(JSON, named::<Tagged>)]),
            ],
        },
        Operation {
            method: "POST",
            paths: &["/models/create"],
            parameters: &[],
            request: Some((JSON, named::<Create>)),
            // The text is lines of the same JSON.
            answers: &[
                (200, &[(TEXT, text), (JSON, named::<Line>)]),
                (202, &[(JSON, named::<WireTransfer>)]),
            ],
        },
        get(&["/models/{*model}/export"], &[(200, &[(TAR, opaque)])]),
        Operation {
            method: "POST",
            paths: &["/models/{*model}/repackage"],
            parameters: &[],
            request: Some((JSON, named::<Repackage>)),
            answers: &[(201, &[(JSON, named::<Repackaged>)])],
        },
        Operation {
            method: "POST",
            paths: &["/models/load"],
            parameters: &[],
            request: Some((TAR, opaque)),
            // The text is one line of the same JSON.
            answers: &[(200, &[(TEXT, text), (JSON, named::<Loaded>)])],
        },
        Operation {
            method: "POST",
            paths: &["/modeld/import"],
            parameters: &[],
            request: Some((JSON, named::<Import>)),
            answers: &[(200, &[(NDJSON, named::<ImportLine>)])],
        },
        Operation {
            method: "POST",
            paths: &["/modeld/login"],
            parameters: &[],
            request: Some((JSON, named::<LoginRequest>)),
            answers: &[(200, &[(JSON, named::<LoggedIn>)])],
        },
        Operation {
            method: "DELETE",
            paths: &["/modeld/login"],
            parameters: &[required("registry", "its host, as `docker.io` or `localhost:5000`")],
            request: None,
            answers: &[(200, &[(JSON, named::<LoggedOut>)])],
        },
        get(&["/modeld/login"], &[(200, &[(JSON, list_of::<WireLogin>)])]),
        Operation {
            parameters: &[
                query("query", text, "words; without it, what is fetched most"),
                query("limit", integer, "hits of each source, from 1 to 100; 25 if absent"),
            ],
            ..get(&["/modeld/search"], &[(200, &[(JSON, named::<Found>)])])
        },
        get(&["/modeld/tcp"], &[(200, &[(JSON, named::<WireTcp>)])]),
        Operation {
            method: "PUT",
            paths: &["/modeld/tcp"],
            parameters: &[],
            request: Some((JSON, named::<TcpRequest>)),
            answers: &[(200, &[(JSON, named::<WireTcp>)])],
        },
        Operation {
            method: "DELETE",
            paths: &["/modeld/tcp"],
            parameters: &[
                query("containers", flag, "the one for containers alone"),
                query(
                    "released",
                    text,
                    "addresses, separated by commas, at which the service manager has closed its \
                     sockets",
                ),
            ],
            request: None,
            answers: &[(200, &[(JSON, named::<WireTcp>)])],
        },
        Operation {
            method: "POST",
            paths: &["/modeld/prune"],
            parameters: &[],
            request: Some((JSON, named::<Prune>)),
            answers: &[(200, &[(NDJSON, named::<PruneLine>)])],
        },
        Operation {
            method: "POST",
            paths: &["/modeld/fsck"],
            parameters: &[],
            request: Some((JSON, named::<Fsck>)),
            answers: &[(200, &[(NDJSON, named::<FsckLine>)])],
        },
        Operation {
            method: "POST",
            paths: &["/modeld/reload"],
            parameters: &[],
            request: None,
            answers: &[(200, &[(JSON, named::<Reloaded>)])],
        },
        Operation {
            method: "DELETE",
            paths: &["/models/purge"],
            parameters: &[query("force", flag, "also while requests run, ending them")],
            request: None,
            answers: &[(200, &[])],
        },
        get(&["/engines/df"], &[(200, &[(JSON, named::<WireUsage>)])]),
        get(&["/engines/ps"], &[(200, &[(JSON, list_of::<WireLoaded>)])]),
        Operation {
            parameters: &[
                query("model", text, "of this model only"),
                query("include_existing", flag, "for streams: those that there are come first"),
            ],
            ..get(
                &["/engines/requests"],
                &[(200, &[(JSON, list_of::<Recorded>), (EVENTS, opaque)])],
            )
        },
        get(&["/engines/status"], &[(200, &[(JSON, states)])]),
        Operation {
            method: "POST",
            paths: &["/engines/unload"],
            parameters: &[],
            request: Some((JSON, named::<Unload>)),
            answers: &[(200, &[(JSON, named::<Unloaded>)])],
        },
        Operation {
            method: "POST",
            paths: &["/engines/_configure"],
            parameters: &[],
            request: Some((JSON, named::<Configure>)),
            answers: &[(202, &[])],
        },
        Operation {
            parameters: &[query("model", text, "of this one alone")],
            ..get(&["/engines/_configure"], &[(200, &[(JSON, list_of::<WireConfigured>)])])
        },
        Operation {
            method: "POST",
            paths: &["/engines/install-backend"],
            parameters: &[],
            request: Some((JSON, named::<Backend>)),
            answers: &[(200, &[(TEXT, text)])],
        },
        Operation {
            method: "POST",
            paths: &["/engines/uninstall-backend"],
            parameters: &[],
            request: Some((JSON, named::<Backend>)),
            // Refused: Docker's client would take any success for what it asked for.
            answers: &[],
        },
        get(&["/modeld/log-level"], &[(200, &[(JSON, named::<LogLevel>)])]),
        Operation {
            method: "PUT",
            paths: &["/modeld/log-level"],
            parameters: &[],
            request: Some((JSON, named::<LogLevel>)),
            answers: &[(200, &[(JSON, named::<LogLevel>)])],
        },
        get(&["/modeld/status"], &[(200, &[(JSON, named::<Status>)])]),
        get(&["/modeld/transfers"], &[(200, &[(JSON, list_of::<WireTransfer>)])]),
        Operation {
            method: "DELETE",
            paths: &["/modeld/transfers"],
            parameters: &[required("reference", "of which transfers")],
            request: None,
            answers: &[(200, &[(JSON, list_of::<WireTransfer>)])],
        },
    ],
};

/// The state of each engine, by its name.
fn states(_: &mut Schemas) -> RefOr<Schema> {
    let text = AdditionalProperties::RefOr(String::schema());
    of(Type::Object).additional_properties(Some(text)).into()
}

fn anything(_: &mut Schemas) -> RefOr<Schema> {
    of(Type::Object).into()
}
