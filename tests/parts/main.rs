//! Parts of the root package from outside: in one binary, which is linked once.

mod answers;
mod storage;
mod wire;
