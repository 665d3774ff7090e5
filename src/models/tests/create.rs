//! Models made of others and of uploaded files.

use serde_json::{Map, Value, json};

use super::forms::projector;
use super::*;
use crate::registry::{Artifact, Part, Role};
use crate::store::PruneOptions;

fn recipe(base: Base) -> Recipe {
    Recipe {
        base,
        adapters: Vec::new(),
        system: None,
        parameters: Map::new(),
        messages: Vec::new(),
        template: None,
        licenses: Vec::new(),
        quantization: None,
    }
}

fn from(name: &str) -> Recipe {
    recipe(Base::Model(name.to_owned()))
}

fn map(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

async fn upload(home: &Home, bytes: Vec<u8>) -> (Digest, crate::store::Blob) {
    let digest = Digest::of(&bytes);
    let size = Some(bytes.len() as u64);
    let blob = home.models.take_blob(digest, size, Box::new(Cursor::new(bytes))).await.unwrap();
    (digest, blob)
}

/// A model `ai/base:latest` of the tiny weights.
async fn home_with_base() -> Home {
    let home = Home::new();
    let plan = PackagePlan::new(&options(home.write("tiny.gguf", &Writer::tiny().build())));
    let id = home.load(archive(&plan.unwrap())).await.unwrap().id.to_string();
    home.models.tag(&id, "base").await.unwrap();
    home
}

fn roles(home: &Home, id: &Digest) -> Vec<Role> {
    let manifest = home.models.store().read_manifest(id).unwrap();
    Artifact::parse(&manifest).unwrap().layers.iter().map(|layer| layer.role).collect()
}

#[tokio::test]
async fn what_a_recipe_says_is_the_profile_and_the_rest_stays() {
    let home = home_with_base().await;
    let message = |role: &str, content: &str| StoredMessage {
        role: role.to_owned(),
        content: content.to_owned(),
    };
    let first = Recipe {
        system: Some("Be brief.".to_owned()),
        parameters: map(json!({"top_k": 3, "num_predict": 5})),
        messages: vec![message("user", "hi"), message("assistant", "ho")],
        licenses: vec!["one".to_owned()],
        ..from("base")
    };
    let blobs = home.count("blobs/sha256");
    let made = home.models.create("mine", first.clone()).await.unwrap();
    assert_eq!((made.tag.as_str(), made.orphaned), ("docker.io/ai/mine:latest", None));
    let expected = [
        Role::Weights,
        Role::License,
        Role::Profile(Part::System),
        Role::Profile(Part::Parameters),
        Role::Profile(Part::Messages),
    ];
    assert_eq!(roles(&home, &made.id), expected);
    let new: Vec<bool> = made.layers.iter().map(|(_, is_new)| *is_new).collect();
    assert_eq!(new, [false, true, true, true, true, true]);
    assert_eq!(home.count("blobs/sha256"), blobs + 5, "no copy of the weights");
    let read = home.models.portrait("mine").await.unwrap().ollama;
    assert_eq!(read.system, first.system);
    assert_eq!((&read.parameters, &read.messages), (&first.parameters, &first.messages));
    home.models.resolve("mine").await.unwrap();
    // The same once more is the same.
    assert_eq!(home.models.create("again", first).await.unwrap().id, made.id);

    let second = Recipe {
        system: Some("Be long.".to_owned()),
        parameters: map(json!({"top_k": 9})),
        licenses: vec!["two".to_owned()],
        ..from("mine")
    };
    let made = home.models.create("other", second).await.unwrap();
    let licenses = roles(&home, &made.id).into_iter().filter(|role| *role == Role::License);
    assert_eq!(licenses.count(), 2);
    let read = home.models.portrait("other").await.unwrap().ollama;
    assert_eq!(read.system.as_deref(), Some("Be long."));
    assert_eq!(Value::Object(read.parameters), json!({"num_predict": 5, "top_k": 9}));
    assert_eq!(read.messages.len(), 2);
    let base = home.models.portrait("base").await.unwrap().ollama;
    assert_eq!(base, OllamaLayers::default());
}

#[tokio::test]
async fn templates_are_jinja_or_those_that_are_there() {
    let home = home_with_base().await;
    let with = |template: &str| Recipe { template: Some(template.to_owned()), ..from("base") };
    let base = home.models.inspect("base").await.unwrap().id;
    for same in ["{{ messages }}", " {{ messages }}\n", ""] {
        assert_eq!(home.models.create("same", with(same)).await.unwrap().id, base, "{same:?}");
    }
    home.models.create("mine", with("{% for m in messages %}{% endfor %}")).await.unwrap();
    let read = home.models.portrait("mine").await.unwrap();
    assert_eq!(read.template, "{% for m in messages %}{% endfor %}");
    for (bad, kind) in
        [("{{ .Prompt }}", ErrorKind::Unsupported), ("Be kind.", ErrorKind::InvalidValue)]
    {
        let error = home.models.create("bad", with(bad)).await.unwrap_err();
        assert_eq!((error.kind, error.param.as_deref()), (kind, Some("template")), "{bad}");
    }
    assert!(home.models.inspect("bad").await.is_err());
}

#[tokio::test]
async fn uploaded_files_become_a_model() {
    let home = Home::new();
    let (weights, held) = upload(&home, Writer::tiny().build()).await;
    let (mmproj, _held_too) = upload(&home, projector()).await;
    let (adapter, _held_last) = upload(&home, lora("llama").build()).await;
    let files = vec![("dir/p.gguf".to_owned(), mmproj), ("m.gguf".to_owned(), weights)];
    let whole = Recipe {
        adapters: vec![("style.gguf".to_owned(), adapter)],
        system: Some("Be brief.".to_owned()),
        quantization: Some("q4_1".to_owned()),
        ..recipe(Base::Files(files.clone()))
    };
    let made = home.models.create("mine", whole).await.unwrap();
    let expected = [Role::Weights, Role::Projector, Role::Adapter, Role::Profile(Part::System)];
    assert_eq!(roles(&home, &made.id), expected);
    let new: Vec<bool> = made.layers.iter().map(|(_, is_new)| *is_new).collect();
    assert_eq!(new, [false, false, false, true, true]);
    let local = home.models.resolve("mine").await.unwrap();
    assert_eq!((local.adapters.len(), local.mmproj.is_some()), (1, true));
    assert!(local.entry.created > 0);
    drop(local);
    // It keeps them without their leases.
    drop((held, _held_too, _held_last));
    let all = PruneOptions { orphans: true, ..PruneOptions::default() };
    home.models.prune(all).await.unwrap();
    home.models.resolve("mine").await.unwrap();

    let quantized = Recipe { quantization: Some("Q8_0".to_owned()), ..from("mine") };
    let error = home.models.create("bad", quantized).await.unwrap_err();
    assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::Unsupported, Some("quantize")));
    assert!(error.message.contains("Q4_1"), "{}", error.message);
}

#[tokio::test]
async fn shards_are_put_in_order() {
    let home = Home::new();
    let (first, _first) = upload(&home, shard(0, 2)).await;
    let (second, _second) = upload(&home, shard(1, 2)).await;
    let named = |a: &str, b: &str| {
        let files = vec![(b.to_owned(), second), (a.to_owned(), first)];
        recipe(Base::Files(files))
    };
    let names = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf");
    home.models.create("mine", named(names.0, names.1)).await.unwrap();
    home.models.resolve("mine").await.unwrap();
    for (a, b) in [("a.gguf", "b.gguf"), ("m-00001-of-00002.gguf", "n-00002-of-00002.gguf")] {
        let error = home.models.create("bad", named(a, b)).await.unwrap_err();
        assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::InvalidValue, Some("files")));
    }
}

#[tokio::test]
async fn what_cannot_be_a_model_leaves_nothing() {
    let home = Home::new();
    let (weights, _weights) = upload(&home, Writer::tiny().build()).await;
    let (text, _text) = upload(&home, b"{\"not\": \"gguf\"}".to_vec()).await;
    let (adapter, _adapter) = upload(&home, lora("llama").build()).await;
    let (foreign, _foreign) = upload(&home, lora("qwen2").build()).await;
    let blobs = home.count("blobs/sha256");
    let of = |files: &[(&str, Digest)]| {
        let files = files.iter().map(|(name, digest)| ((*name).to_owned(), *digest)).collect();
        recipe(Base::Files(files))
    };
    let good = of(&[("m.gguf", weights)]);
    for (what, target, recipe, kind) in [
        ("absent", "x", of(&[("m.gguf", Digest::of(b"?"))]), ErrorKind::InvalidValue),
        ("text", "x", of(&[("config.json", text)]), ErrorKind::Unsupported),
        ("no weights", "x", of(&[("a.gguf", adapter)]), ErrorKind::InvalidValue),
        ("no name", "a//b", good.clone(), ErrorKind::InvalidReference),
        ("no tag", &weights.to_string(), good.clone(), ErrorKind::InvalidReference),
        ("no base", "x", from("nowhere"), ErrorKind::ModelNotFound),
        (
            "a foreign adapter",
            "x",
            Recipe {
                adapters: vec![("a.gguf".to_owned(), foreign)],
                system: Some("new".to_owned()),
                ..good.clone()
            },
            ErrorKind::InvalidModel,
        ),
    ] {
        let error = home.models.create(target, recipe).await.unwrap_err();
        assert_eq!(error.kind, kind, "{what}: {}", error.message);
        assert_eq!(home.count("blobs/sha256"), blobs, "{what}");
        assert_eq!(home.models.store().list().unwrap().len(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_model_that_loses_its_only_name_is_told_of() {
    let home = home_with_base().await;
    let said = |text: &str| Recipe { system: Some(text.to_owned()), ..from("base") };
    let first = home.models.create("mine", said("one")).await.unwrap();
    let second = home.models.create("mine", said("two")).await.unwrap();
    assert_eq!(second.orphaned, Some(first.id));
    assert_eq!(home.models.create("mine", said("two")).await.unwrap().orphaned, None);
    home.models.tag("mine", "kept").await.unwrap();
    assert_eq!(home.models.create("mine", said("three")).await.unwrap().orphaned, None);
}
