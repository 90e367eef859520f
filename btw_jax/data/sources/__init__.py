"""The dataset loaders, one file per format; they know no models or batches."""
