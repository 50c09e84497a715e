"""Models to beat, networks of one's own to train, and features of images from any network.

`zoo`
    All baselines by name: `train`, `submit`, `load_model`, `save_model`.
`linear`, `fwrf`, `banded`, `cnn`, `repeat_oracle`
    The baselines, each with its class of options (`checked`); `ridge` computes the linear ones, whose options
    are in `ridge_options`, and `cnn_module` is the network of `cnn`.
`model`, `model_files`
    What a fitted model can do, and how it lies on disk.
`guard`, `image_means`
    What baselines are fitted on: never the test tiers.
`training`, with `training_options`, `training_loaders`, `schedules`, `progress`, `distributed`
    The training loop of networks: `train_network`.
`image_features`, `feature_sources`, `feature_store`, `extract`, `networks`
    Features of images: fixed ones, and those of a network, extracted and kept.
"""
