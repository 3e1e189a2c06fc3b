//! Prints the manifests of a tenant, as a JSON array. The values are read from standard input, in the form the chart
//! `ntro-tenant` takes them; what is left out has its default.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spec = serde_json::from_reader(std::io::stdin())?;
    println!("{}", serde_json::to_string(&ntro_crds::tenant::manifests(&spec))?);
    Ok(())
}
