//! Models leave as the archives that they came in by.

use super::*;

async fn exported(home: &Home, model: &str) -> Vec<u8> {
    let export = home.models.export(model).await.unwrap();
    let mut out = Vec::new();
    export.write_tar(&mut out).unwrap();
    assert_eq!(out.len() as u64, export.total_bytes());
    out
}

async fn whole(home: &Home) -> PackagePlan {
    let weights = home.write("tiny.gguf", &Writer::tiny().build());
    let plan = PackagePlan::new(&PackageOptions {
        mmproj: Some(
            home.write("m.gguf", &Writer::empty().text("general.architecture", "clip").build()),
        ),
        chat_template: Some(home.write("chat.jinja", b"{{ messages }}")),
        // One blob for both.
        licenses: vec![home.write("LICENSE", b"x"), home.write("NOTICE", b"x")],
        adapters: vec![home.write("lora.gguf", &lora("llama").build())],
        ..options(weights)
    })
    .unwrap();
    home.load(archive(&plan)).await.unwrap();
    plan
}

#[tokio::test]
async fn a_model_goes_out_and_comes_back_byte_for_byte() {
    let home = Home::new();
    let plan = whole(&home).await;
    let id = plan.manifest_digest();
    let out = exported(&home, &id.to_string()).await;
    assert!(out == archive(&plan), "the archive that it was loaded from");
    home.models.remove(&id.to_string(), false).await.unwrap();
    home.assert_empty("after its removal");
    let back = home.load(out.clone()).await.unwrap();
    assert_eq!(back.id, id);
    assert!(exported(&home, &id.short()).await == out);
    let local = home.models.resolve(&id.short()).await.unwrap();
    assert_eq!((local.adapters.len(), local.readable.len()), (1, 4));
}

#[tokio::test]
async fn a_model_that_is_removed_while_it_goes_out_still_does() {
    let home = Home::new();
    let plan = whole(&home).await;
    let id = plan.manifest_digest().to_string();
    let export = home.models.export(&id).await.unwrap();
    home.models.remove(&id, false).await.unwrap();
    let mut out = Vec::new();
    export.write_tar(&mut out).unwrap();
    assert!(out == archive(&plan));
    drop(export);
    home.models.store().sweep().unwrap();
    home.assert_empty("after the export");
    let error = home.models.export(&id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ModelNotFound);
}

#[tokio::test]
async fn a_damaged_blob_ends_an_archive_before_it_looks_whole() {
    let home = Home::new();
    let plan = whole(&home).await;
    let id = plan.manifest_digest().to_string();
    let path = home.models.resolve(&id).await.unwrap().weights;
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let export = home.models.export(&id).await.unwrap();
    let mut out = Vec::new();
    let error = export.write_tar(&mut out).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!((out.len() as u64) < export.total_bytes() - 1024);
    std::fs::write(&path, &bytes[1..]).unwrap();
    let error = home.models.export(&id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidModel);
    assert!(error.message.contains("instead of"), "{error}");
}
