fn main() {
    println!("cargo:rustc-env=MODELD_BUILD_ID=dev");
}
