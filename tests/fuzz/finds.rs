//! What was found so, each as a test with a name.
