"""Workers that run other systems by their public interface, each in an environment of its own; none imports amenable."""
