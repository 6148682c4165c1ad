"""What trains a unit of a sweep: the C kernel, the portable torch engine, and the one for any nn.Module."""
