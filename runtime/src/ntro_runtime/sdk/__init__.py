"""The published `ntro` SDK on the durable runtime. Only this package knows names of the SDK that are not its public interface."""
