//! Models from the Hugging Face Hub: from a repository, over HTTP, to checked files in the store.

use std::sync::Arc;

use futures_util::StreamExt as _;
use modeld::domain::ModelRef;
use modeld::models::Models;
use modeld::registry::egress::{Egress, EgressOptions};
use modeld::registry::hub::{Hub, HubOptions};
use modeld::registry::{Registry as _, Role};
use modeld::store::Store;
use tempfile::TempDir;

use crate::support::hub::{Repo, RepoFile, StandIn};
use crate::support::models;

fn client(server: &StandIn) -> Hub {
    let egress = Egress::new(EgressOptions {
        // The stand-in's files are behind another port of the same address.
        insecure: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        ..EgressOptions::default()
    })
    .unwrap();
    Hub::new(egress, HubOptions { endpoint: server.url.parse().unwrap(), token: None })
}

fn repo() -> Repo {
    let files = vec![
        RepoFile::small("README.md", "# Hello"),
        RepoFile::small("LICENSE.txt", "do as you like"),
        RepoFile::large("hello-F32.gguf", models::hello().bytes()),
    ];
    Repo::new("Some-Org/Hello-GGUF", files)
}

#[tokio::test]
async fn a_part_of_a_file_is_what_the_hub_holds_there() {
    let server = StandIn::start(vec![repo()]).await;
    let reference = ModelRef::parse("hf.co/Some-Org/Hello-GGUF:F32").unwrap();
    let model = client(&server).resolve(&reference, None).await.unwrap();
    let weights = model.artifact.with_role(Role::Weights).next().unwrap().blob;
    let body = model.blobs.open(&weights, 100..1100).await.unwrap();
    assert_eq!((body.start, body.end), (100, 1100));
    let pieces: Vec<_> = body.stream.map(|piece| piece.unwrap()).collect().await;
    assert_eq!(pieces.concat(), models::hello().bytes()[100..1100]);
}

#[tokio::test]
async fn a_pulled_repository_is_a_model_under_its_name() {
    let server = StandIn::start(vec![repo()]).await;
    let dir = TempDir::new().unwrap();
    let store = Store::open(&dir.path().join("models")).unwrap();
    let local = Models::new(store).with_registry(Arc::new(client(&server)));
    let plan = local.plan_pull("hf.co/Some-Org/Hello-GGUF", None).await.unwrap();
    let id = plan.transfer().id;
    let pulled = plan.run(|_| {}).await.unwrap();
    assert_eq!(Some(pulled.id), id);
    assert_eq!(pulled.tag.as_deref(), Some("huggingface.co/some-org/hello-gguf:latest"));
    let model = local.resolve("hf.co/some-org/hello-gguf").await.unwrap();
    assert_eq!(std::fs::read(&model.weights).unwrap(), models::hello().bytes());
}
