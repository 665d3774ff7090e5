# Read by CMake before llama.cpp's own project() call. modeld decodes images in Rust and does all
# networking itself, so the parts of llama.cpp that start processes or open TLS connections stay out.
set(LLAMA_SUBPROCESS OFF CACHE BOOL "" FORCE)
set(LLAMA_OPENSSL OFF CACHE BOOL "" FORCE)
