//! Vectors, as dialects that promise a length of one send them.

/// Brings a vector to length 1; one of zeros stays as it is.
pub(super) fn normalise(vector: &mut [f32]) {
    // In 64 bits, where the squares of no 32-bit floats overflow.
    let squares: f64 = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
    let length = squares.sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
}
