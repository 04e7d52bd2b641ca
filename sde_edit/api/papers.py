"""The papers that plug-ins cite, by key. A new plug-in may also cite its own inline."""

from __future__ import annotations

from sde_edit.api.citation import Citation

BINKOWSKI2018MMD = Citation(
    key="binkowski2018mmd",
    authors="Bińkowski, Mikołaj and Sutherland, Danica J. and Arbel, Michael and Gretton, Arthur",
    title="Demystifying MMD GANs",
    venue="ICLR",
    year=2018,
    arxiv="1801.01401",
)
BLASINGAME2026REX = Citation(
    key="blasingame2026rex",
    authors="Blasingame, Zander W. and Liu, Chen",
    title="Rex: A Family of Reversible Exponential (Stochastic) Runge-Kutta Solvers",
    venue="ICML",
    year=2026,
    arxiv="2502.08834",
)
COUAIRON2023DIFFEDIT = Citation(
    key="couairon2023diffedit",
    authors="Couairon, Guillaume and Verbeek, Jakob and Schwenk, Holger and Cord, Matthieu",
    title="DiffEdit: Diffusion-based Semantic Image Editing with Mask Guidance",
    venue="ICLR",
    year=2023,
    arxiv="2210.11427",
)
DHARIWAL2021DIFFUSION = Citation(
    key="dhariwal2021diffusion",
    authors="Dhariwal, Prafulla and Nichol, Alex",
    title="Diffusion Models Beat GANs on Image Synthesis",
    venue="NeurIPS",
    year=2021,
    arxiv="2105.05233",
)
HERTZ2023PROMPT = Citation(
    key="hertz2023prompt",
    authors="Hertz, Amir and Mokady, Ron and Tenenbaum, Jay and Aberman, Kfir and Pritch, Yael "
    "and Cohen-Or, Daniel",
    title="Prompt-to-Prompt Image Editing with Cross Attention Control",
    venue="ICLR",
    year=2023,
    arxiv="2208.01626",
)
HESSEL2021CLIPSCORE = Citation(
    key="hessel2021clipscore",
    authors="Hessel, Jack and Holtzman, Ari and Forbes, Maxwell and Le Bras, Ronan and Choi, Yejin",
    title="CLIPScore: A Reference-free Evaluation Metric for Image Captioning",
    venue="EMNLP",
    year=2021,
    arxiv="2104.08718",
)
HEUSEL2017TTUR = Citation(
    key="heusel2017ttur",
    authors="Heusel, Martin and Ramsauer, Hubert and Unterthiner, Thomas and Nessler, Bernhard "
    "and Hochreiter, Sepp",
    title="GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    venue="NeurIPS",
    year=2017,
    arxiv="1706.08500",
)
HO2020DDPM = Citation(
    key="ho2020ddpm",
    authors="Ho, Jonathan and Jain, Ajay and Abbeel, Pieter",
    title="Denoising Diffusion Probabilistic Models",
    venue="NeurIPS",
    year=2020,
    arxiv="2006.11239",
)
HU2019BISON = Citation(
    key="hu2019bison",
    authors="Hu, Hexiang and Misra, Ishan and van der Maaten, Laurens",
    title="Evaluating Text-to-Image Matching using Binary Image Selection (BISON)",
    venue="ICCV Workshops",
    year=2019,
    arxiv="1901.06595",
)
HUBERMAN2024EDIT = Citation(
    key="huberman2024edit",
    authors="Huberman-Spiegelglas, Inbar and Kulikov, Vladimir and Michaeli, Tomer",
    title="An Edit Friendly DDPM Noise Space: Inversion and Manipulations",
    venue="CVPR",
    year=2024,
    arxiv="2304.06140",
)
JU2024PNP = Citation(
    key="ju2024pnp",
    authors="Ju, Xuan and Zeng, Ailing and Bian, Yuxuan and Liu, Shaoteng and Xu, Qiang",
    title="PnP Inversion: Boosting Diffusion-based Editing with 3 Lines of Code",
    venue="ICLR",
    year=2024,
    arxiv="2310.01506",
)
LIN2014COCO = Citation(
    key="lin2014coco",
    authors="Lin, Tsung-Yi and Maire, Michael and Belongie, Serge and Hays, James and Perona, "
    "Pietro and Ramanan, Deva and Dollár, Piotr and Zitnick, C. Lawrence",
    title="Microsoft COCO: Common Objects in Context",
    venue="ECCV",
    year=2014,
    arxiv="1405.0312",
)
LIU2022PNDM = Citation(
    key="liu2022pndm",
    authors="Liu, Luping and Ren, Yi and Lin, Zhijie and Zhao, Zhou",
    title="Pseudo Numerical Methods for Diffusion Models on Manifolds",
    venue="ICLR",
    year=2022,
    arxiv="2202.09778",
)
LU2022DPMSOLVERPP = Citation(
    key="lu2022dpmsolverpp",
    authors="Lu, Cheng and Zhou, Yuhao and Bao, Fan and Chen, Jianfei and Li, Chongxuan and "
    "Zhu, Jun",
    title="DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
    venue="arXiv",
    year=2022,
    arxiv="2211.01095",
)
LU2024REGIONDRAG = Citation(
    key="lu2024regiondrag",
    authors="Lu, Jingyi and Li, Xinghui and Han, Kai",
    title="RegionDrag: Fast Region-Based Image Editing with Diffusion Models",
    venue="ECCV",
    year=2024,
    arxiv="2407.18247",
)
MENG2022SDEDIT = Citation(
    key="meng2022sdedit",
    authors="Meng, Chenlin and He, Yutong and Song, Yang and Song, Jiaming and Wu, Jiajun and "
    "Zhu, Jun-Yan and Ermon, Stefano",
    title="SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations",
    venue="ICLR",
    year=2022,
    arxiv="2108.01073",
)
MOKADY2023NULLTEXT = Citation(
    key="mokady2023nulltext",
    authors="Mokady, Ron and Hertz, Amir and Aberman, Kfir and Pritch, Yael and Cohen-Or, Daniel",
    title="Null-text Inversion for Editing Real Images using Guided Diffusion Models",
    venue="CVPR",
    year=2023,
    arxiv="2211.09794",
)
NGUYEN2025HEDIT = Citation(
    key="nguyen2025hedit",
    authors="Nguyen, Toan and Do, Kien and Kieu, Duc and Nguyen, Thin",
    title="h-Edit: Effective and Flexible Diffusion-Based Editing via Doob's h-Transform",
    venue="CVPR",
    year=2025,
    arxiv="2503.02187",
)
NIE2024BLESSING = Citation(
    key="nie2024blessing",
    authors="Nie, Shen and Guo, Hanzhong Allan and Lu, Cheng and Zhou, Yuhao and Zheng, Chenyu "
    "and Li, Chongxuan",
    title="The Blessing of Randomness: SDE Beats ODE in General Diffusion-based Image Editing",
    venue="ICLR",
    year=2024,
    arxiv="2311.01410",
)
PODELL2024SDXL = Citation(
    key="podell2024sdxl",
    authors="Podell, Dustin and English, Zion and Lacey, Kyle and Blattmann, Andreas and Dockhorn, "
    "Tim and Müller, Jonas and Penna, Joe and Rombach, Robin",
    title="SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis",
    venue="ICLR",
    year=2024,
    arxiv="2307.01952",
)
ROMBACH2022HIGH = Citation(
    key="rombach2022high",
    authors="Rombach, Robin and Blattmann, Andreas and Lorenz, Dominik and Esser, Patrick and "
    "Ommer, Björn",
    title="High-Resolution Image Synthesis with Latent Diffusion Models",
    venue="CVPR",
    year=2022,
    arxiv="2112.10752",
)
RUSSAKOVSKY2015IMAGENET = Citation(
    key="russakovsky2015imagenet",
    authors="Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, "
    "Sanjeev and Ma, Sean and Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya "
    "and Bernstein, Michael and Berg, Alexander C. and Fei-Fei, Li",
    title="ImageNet Large Scale Visual Recognition Challenge",
    venue="International Journal of Computer Vision",
    year=2015,
    arxiv="1409.0575",
)
SHI2024DRAGDIFFUSION = Citation(
    key="shi2024dragdiffusion",
    authors="Shi, Yujun and Xue, Chuhui and Liew, Jun Hao and Pan, Jiachun and Yan, Hanshu and "
    "Zhang, Wenqing and Tan, Vincent Y. F. and Bai, Song",
    title="DragDiffusion: Harnessing Diffusion Models for Interactive Point-based Image Editing",
    venue="CVPR",
    year=2024,
    arxiv="2306.14435",
)
SONG2021DDIM = Citation(
    key="song2021ddim",
    authors="Song, Jiaming and Meng, Chenlin and Ermon, Stefano",
    title="Denoising Diffusion Implicit Models",
    venue="ICLR",
    year=2021,
    arxiv="2010.02502",
)
SU2023DDIB = Citation(
    key="su2023ddib",
    authors="Su, Xuan and Song, Jiaming and Meng, Chenlin and Ermon, Stefano",
    title="Dual Diffusion Implicit Bridges for Image-to-Image Translation",
    venue="ICLR",
    year=2023,
    arxiv="2203.08382",
)
TANG2023DIFT = Citation(
    key="tang2023dift",
    authors="Tang, Luming and Jia, Menglin and Wang, Qianqian and Phoo, Cheng Perng and "
    "Hariharan, Bharath",
    title="Emergent Correspondence from Image Diffusion",
    venue="NeurIPS",
    year=2023,
    arxiv="2306.03881",
)
TUMANYAN2022SPLICE = Citation(
    key="tumanyan2022splice",
    authors="Tumanyan, Narek and Bar-Tal, Omer and Bagon, Shai and Dekel, Tali",
    title="Splicing ViT Features for Semantic Appearance Transfer",
    venue="CVPR",
    year=2022,
    arxiv="2201.00424",
)
WALLACE2023EDICT = Citation(
    key="wallace2023edict",
    authors="Wallace, Bram and Gokul, Akash and Naik, Nikhil",
    title="EDICT: Exact Diffusion Inversion via Coupled Transformations",
    venue="CVPR",
    year=2023,
    arxiv="2211.12446",
)
WANG2004SSIM = Citation(
    key="wang2004ssim",
    authors="Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.",
    title="Image Quality Assessment: From Error Visibility to Structural Similarity",
    venue="IEEE Transactions on Image Processing",
    year=2004,
)
WANG2024BELM = Citation(
    key="wang2024belm",
    authors="Wang, Fangyikang and Yin, Hubery and Dong, Yuejiang and Zhu, Huminhao and "
    "Zhang, Chao and Zhao, Hanbin and Qian, Hui and Li, Chen",
    title="BELM: Bidirectional Explicit Linear Multi-step Sampler for Exact Inversion in "
    "Diffusion Models",
    venue="NeurIPS",
    year=2024,
    arxiv="2410.07273",
)
WU2023CYCLEDIFFUSION = Citation(
    key="wu2023cyclediffusion",
    authors="Wu, Chen Henry and De la Torre, Fernando",
    title="A Latent Space of Stochastic Diffusion Models for Zero-Shot Image Editing and Guidance",
    venue="ICCV",
    year=2023,
)
ZHANG2018LPIPS = Citation(
    key="zhang2018lpips",
    authors="Zhang, Richard and Isola, Phillip and Efros, Alexei A. and Shechtman, Eli and "
    "Wang, Oliver",
    title="The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    venue="CVPR",
    year=2018,
    arxiv="1801.03924",
)
ZHANG2023ADDING = Citation(
    key="zhang2023adding",
    authors="Zhang, Lvmin and Rao, Anyi and Agrawala, Maneesh",
    title="Adding Conditional Control to Text-to-Image Diffusion Models",
    venue="ICCV",
    year=2023,
    arxiv="2302.05543",
)
ZHANG2024BDIA = Citation(
    key="zhang2024bdia",
    authors="Zhang, Guoqiang and Lewis, J. P. and Kleijn, W. Bastiaan",
    title="Exact Diffusion Inversion via Bidirectional Integration Approximation",
    venue="ECCV",
    year=2024,
    arxiv="2307.10829",
)
ZHAO2022EGSDE = Citation(
    key="zhao2022egsde",
    authors="Zhao, Min and Bao, Fan and Li, Chongxuan and Zhu, Jun",
    title="EGSDE: Unpaired Image-to-Image Translation via Energy-Guided Stochastic Differential "
    "Equations",
    venue="NeurIPS",
    year=2022,
    arxiv="2207.06635",
)
ZHANG2025GOODDRAG = Citation(
    key="zhang2025gooddrag",
    authors="Zhang, Zewei and Liu, Huan and Chen, Jun and Xu, Xiangyu",
    title="GoodDrag: Towards Good Practices for Drag Editing with Diffusion Models",
    venue="ICLR",
    year=2025,
    arxiv="2404.07206",
)
