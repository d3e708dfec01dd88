//! Makes the code of the SPIFFE Workload API from its description, without an installed compiler for it.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/workloadapi.proto");
    let description = protox::compile(["proto/workloadapi.proto"], ["proto"])?;
    let config = tonic_prost_build::configure().build_client(false).bytes(".");
    // What holds a private key or a token is never printed.
    let secret = ["X509SVID", "X509SVIDResponse", "JWTSVID", "JWTSVIDResponse", "ValidateJWTSVIDRequest"];
    Ok(config.skip_debug(secret).compile_fds(description)?)
}
